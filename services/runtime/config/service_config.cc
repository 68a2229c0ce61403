// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/config/service_config.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/config/field_check.h"
#include "services/runtime/config/text_config.h"

namespace tandem {
namespace {

template <typename Config>
absl::StatusOr<Config> Load(const std::string& path) {
  Config config;
  RETURN_IF_ERROR(ReadTextConfig(path, config));
  ApplyDefaults(config);
  const absl::Status valid = Validate(config);
  if (!valid.ok()) return absl::Status(valid.code(), absl::StrCat(path, ": ", valid.message()));
  return config;
}

// "/models/tiny-v4/" → "tiny-v4".
std::string FolderName(absl::string_view path) {
  while (absl::ConsumeSuffix(&path, "/")) {
  }
  return std::string(path.substr(path.rfind('/') + 1));
}

// Of the router and of the part that workers have in common.
template <typename Config>
void ApplyMetricsDefaults(Config& config) {
  if (config.metrics_compat() == v1::METRICS_COMPAT_UNSPECIFIED) {
    config.set_metrics_compat(v1::METRICS_COMPAT_VLLM);
  }
}

template <typename Config>
void CheckMetrics(const Config& config, FieldCheck& check) {
  if (!config.metrics_listen().empty()) check.Listen("metrics_listen", config.metrics_listen());
  if (!v1::MetricsCompat_IsValid(config.metrics_compat())) {
    check.Fail("metrics_compat", "is no known system");
  }
  const v1::HistogramBounds& bounds = config.histogram_bounds();
  check.Rising("histogram_bounds.ttft", bounds.ttft());
  check.Rising("histogram_bounds.tpot", bounds.tpot());
  check.Rising("histogram_bounds.e2e", bounds.e2e());
  check.Rising("histogram_bounds.stage", bounds.stage());
}

template <typename Config>
void CheckHealthListen(const Config& config, FieldCheck& check) {
  if (!config.health_listen().empty()) check.Listen("health_listen", config.health_listen());
}

void ApplySimDefaults(v1::SimConfig& sim) {
  if (!sim.has_prefill_step()) *sim.mutable_prefill_step() = ToProto(absl::Milliseconds(5));
  if (!sim.has_prefill_token()) *sim.mutable_prefill_token() = ToProto(absl::Microseconds(20));
  if (!sim.has_decode_step()) *sim.mutable_decode_step() = ToProto(absl::Milliseconds(20));
  if (!sim.has_decode_sequence()) *sim.mutable_decode_sequence() = ToProto(absl::Microseconds(50));
}

absl::Status ValidateSim(const v1::SimConfig& sim) {
  constexpr absl::Duration kMax = absl::Seconds(60);
  FieldCheck check("worker.sim.");
  check.UpTo("prefill_step", sim.prefill_step(), kMax);
  check.UpTo("prefill_token", sim.prefill_token(), kMax);
  check.UpTo("decode_step", sim.decode_step(), kMax);
  check.UpTo("decode_sequence", sim.decode_sequence(), kMax);
  return check.status();
}

void ApplyWorkerDefaults(v1::WorkerConfig& worker) {
  if (worker.model_name().empty()) worker.set_model_name(FolderName(worker.model_dir()));
  if (worker.device() == v1::DEVICE_UNSPECIFIED) worker.set_device(v1::DEVICE_CPU);
  if (!worker.has_tensor_parallel()) worker.set_tensor_parallel(1);
  if (worker.device() == v1::DEVICE_CUDA) {
    if (!worker.has_gpu() && worker.gpus().empty()) worker.set_gpu(0);
    if (worker.cuda_graphs() == v1::CUDA_GRAPHS_UNSPECIFIED)
      worker.set_cuda_graphs(v1::CUDA_GRAPHS_ON);
  } else if (worker.kernels() == v1::KERNELS_UNSPECIFIED) {
    worker.set_kernels(v1::KERNELS_CPU);
  }
  if (!worker.has_drain_timeout()) *worker.mutable_drain_timeout() = ToProto(absl::Seconds(30));
  ApplyMetricsDefaults(worker);
  if (worker.engine() == v1::ENGINE_UNSPECIFIED) worker.set_engine(v1::ENGINE_MODEL);
  if (worker.engine() == v1::ENGINE_SIM) {
    ApplySimDefaults(*worker.mutable_sim());
  } else if (worker.load_format() == v1::LOAD_FORMAT_UNSPECIFIED) {
    worker.set_load_format(v1::LOAD_FORMAT_CHECKPOINT);
  }
  if (worker.engine() == v1::ENGINE_MODEL && worker.weights() == v1::WEIGHTS_UNSPECIFIED)
    worker.set_weights(v1::WEIGHTS_OWN);
}

void ApplyRegistrationDefaults(v1::WorkerConfig& worker, const std::string& endpoint) {
  if (!worker.has_registration() || !worker.registration().endpoint().empty()) return;
  worker.mutable_registration()->set_endpoint(endpoint);
}

absl::Status ValidateRegistration(const v1::RegistrationConfig& registration) {
  FieldCheck check("worker.registration.");
  if (registration.routers().empty()) check.Fail("routers", "needs at least one");
  for (const auto& router : registration.routers()) check.Endpoint("routers", router);
  const std::string& endpoint = registration.endpoint();
  check.Endpoint("endpoint", endpoint);
  if (endpoint.starts_with("0.0.0.0:") || endpoint.starts_with("[::]:")) {
    check.Fail("endpoint",
               absl::StrCat("\"", endpoint, "\" is no address to reach this worker at"));
  }
  return check.status();
}

// Absent ones are not judged.
absl::Status ValidateSlo(const v1::SloConfig& slo) {
  FieldCheck check("slo.");
  if (slo.has_ttft()) check.Positive("ttft", slo.ttft());
  if (slo.has_tpot()) check.Positive("tpot", slo.tpot());
  if (slo.has_e2e()) check.Positive("e2e", slo.e2e());
  return check.status();
}

absl::Status ValidateRegistry(const v1::RegistryConfig& registry) {
  FieldCheck check("registry.");
  check.Listen("listen", registry.listen());
  if (registry.has_tls() && registry.tls().ca_file().empty()) {
    check.Fail("tls.ca_file", "is required: who registers must show a certificate");
  }
  const absl::Duration ttl = FromProto(registry.worker_ttl());
  if (ttl < absl::Seconds(1) || ttl > absl::Minutes(10)) {
    check.Fail("worker_ttl", absl::StrCat(absl::FormatDuration(ttl), " is outside of 1s to 10m"));
  }
  check.InRange("workers_max", registry.workers_max(), {.min = 1, .max = 1U << 16});
  return check.status();
}

void CheckRanks(const v1::WorkerConfig& worker, FieldCheck& check) {
  const uint32_t ranks = worker.tensor_parallel();
  check.InRange("tensor_parallel", ranks, {.min = 1, .max = 8});
  if ((ranks & (ranks - 1)) != 0) {
    check.Fail("tensor_parallel", absl::StrCat(ranks, " is none of 1, 2, 4, 8"));
  }
  if (ranks > 1 && worker.engine() == v1::ENGINE_SIM) {
    check.Fail("tensor_parallel", "is for engine: ENGINE_MODEL only");
  }
  if (worker.gpus().empty()) return;
  if (worker.has_gpu()) check.Fail("gpus", "stands instead of gpu, not beside it");
  if (worker.gpus().size() != static_cast<int>(ranks)) {
    check.Fail("gpus", absl::StrCat("needs as many as tensor_parallel has ranks (", ranks,
                                    "), got ", worker.gpus().size()));
  }
  for (const uint32_t gpu : worker.gpus()) check.InRange("gpus", gpu, {.min = 0, .max = 1023});
}

void CheckDevice(const v1::WorkerConfig& worker, FieldCheck& check) {
  if (!v1::Device_IsValid(worker.device())) check.Fail("device", "is no known device");
  if (!v1::Kernels_IsValid(worker.kernels())) check.Fail("kernels", "is no known kernel table");
  if (worker.device() == v1::DEVICE_CUDA) {
    if (worker.kernels() != v1::KERNELS_UNSPECIFIED)
      check.Fail("kernels", "is for device: DEVICE_CPU only");
    if (worker.engine() == v1::ENGINE_SIM)
      check.Fail("device", "DEVICE_CUDA is for engine: ENGINE_MODEL only");
    check.InRange("gpu", worker.gpu(), {.min = 0, .max = 1023});
    if (!v1::CudaGraphs_IsValid(worker.cuda_graphs()))
      check.Fail("cuda_graphs", "are neither on nor off");
  } else if (worker.has_gpu() || !worker.gpus().empty()) {
    check.Fail(worker.has_gpu() ? "gpu" : "gpus", "is for device: DEVICE_CUDA only");
  } else if (worker.cuda_graphs() != v1::CUDA_GRAPHS_UNSPECIFIED) {
    check.Fail("cuda_graphs", "is for device: DEVICE_CUDA only");
  }
  CheckRanks(worker, check);
}

absl::Status ValidateWorker(const v1::WorkerConfig& worker) {
  FieldCheck check("worker.");
  check.Listen("listen", worker.listen());
  CheckMetrics(worker, check);
  CheckHealthListen(worker, check);
  check.NotEmpty("model_dir", worker.model_dir());
  check.NotEmpty("model_name", worker.model_name());
  if (worker.has_context_tokens_max()) {
    check.InRange("context_tokens_max", worker.context_tokens_max(), {.min = 2, .max = 1U << 24});
  }
  check.Positive("drain_timeout", worker.drain_timeout());
  if (!v1::Engine_IsValid(worker.engine())) check.Fail("engine", "is no known engine");
  CheckDevice(worker, check);
  if (!v1::LoadFormat_IsValid(worker.load_format()))
    check.Fail("load_format", "is no known format");
  if (worker.engine() == v1::ENGINE_SIM && worker.load_format() != v1::LOAD_FORMAT_UNSPECIFIED)
    check.Fail("load_format", "is for engine: ENGINE_MODEL only");
  if (!v1::Weights_IsValid(worker.weights())) check.Fail("weights", "are in no known place");
  if (worker.engine() == v1::ENGINE_SIM && worker.weights() != v1::WEIGHTS_UNSPECIFIED)
    check.Fail("weights", "is for engine: ENGINE_MODEL only");
  if (worker.engine() != v1::ENGINE_SIM && worker.has_sim())
    check.Fail("sim", "is for engine: ENGINE_SIM only");
  RETURN_IF_ERROR(check.status());
  if (worker.has_registration()) RETURN_IF_ERROR(ValidateRegistration(worker.registration()));
  return worker.has_sim() ? ValidateSim(worker.sim()) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::RouterConfig> LoadRouterConfig(const std::string& path) {
  return Load<v1::RouterConfig>(path);
}
absl::StatusOr<v1::PrefillConfig> LoadPrefillConfig(const std::string& path) {
  return Load<v1::PrefillConfig>(path);
}
absl::StatusOr<v1::DecodeConfig> LoadDecodeConfig(const std::string& path) {
  return Load<v1::DecodeConfig>(path);
}

void ApplyDefaults(v1::RouterConfig& config) {
  if (config.model_name().empty()) config.set_model_name(FolderName(config.model_dir()));
  if (!config.has_requests_max()) config.set_requests_max(1024);
  if (!config.has_max_tokens_default()) config.set_max_tokens_default(512);
  if (!config.has_deadline_max()) *config.mutable_deadline_max() = ToProto(absl::Seconds(600));
  if (!config.has_heartbeat_interval()) {
    *config.mutable_heartbeat_interval() = ToProto(absl::Seconds(10));
  }
  if (!config.has_logprobs_max()) config.set_logprobs_max(20);
  if (!config.has_choices_max()) config.set_choices_max(16);
  if (!config.has_message_bytes_max()) config.set_message_bytes_max(16U << 20);
  if (!config.has_drain_timeout()) *config.mutable_drain_timeout() = ToProto(absl::Seconds(30));
  if (!config.has_stream_tokens_max()) config.set_stream_tokens_max(4096);
  if (config.has_registry()) {
    v1::RegistryConfig& registry = *config.mutable_registry();
    if (!registry.has_worker_ttl()) *registry.mutable_worker_ttl() = ToProto(absl::Seconds(10));
    if (!registry.has_workers_max()) registry.set_workers_max(1024);
  }
  ApplyMetricsDefaults(config);
}

void ApplyDefaults(v1::PrefillConfig& config) {
  ApplyWorkerDefaults(*config.mutable_worker());
  ApplyRegistrationDefaults(*config.mutable_worker(), config.worker().listen());
  if (!config.has_chunk_tokens()) {
    config.set_chunk_tokens(config.worker().device() == v1::DEVICE_CUDA ? 4096 : 256);
  }
  if (!config.has_requests_max()) config.set_requests_max(256);
  if (config.kv_channel_kind() == v1::KV_CHANNEL_KIND_UNSPECIFIED) {
    config.set_kv_channel_kind(v1::KV_CHANNEL_KIND_SHARED);
  }
  if (config.kv_channel() == v1::KV_CHANNEL_POLICY_UNSPECIFIED) {
    config.set_kv_channel(v1::KV_CHANNEL_POLICY_FALLBACK);
  }
  if (!config.has_staging_pages()) config.set_staging_pages(256);
  if (!config.has_staging_slots()) config.set_staging_slots(16);
  if (!config.has_link_timeout()) *config.mutable_link_timeout() = ToProto(absl::Seconds(5));
}

void ApplyDefaults(v1::DecodeConfig& config) {
  ApplyWorkerDefaults(*config.mutable_worker());
  if (!config.has_pages()) config.set_pages(1024);
  if (!config.has_slots()) config.set_slots(64);
  if (!config.has_batch_max()) config.set_batch_max(64);
  if (!config.has_lease_ttl()) *config.mutable_lease_ttl() = ToProto(absl::Seconds(60));
  if (config.endpoint().empty()) config.set_endpoint(config.worker().listen());
  ApplyRegistrationDefaults(*config.mutable_worker(), config.endpoint());
  if (!config.has_stream_tokens_max()) config.set_stream_tokens_max(4096);
}

absl::Status Validate(const v1::RouterConfig& config) {
  FieldCheck check;
  check.Listen("listen", config.listen());
  CheckMetrics(config, check);
  CheckHealthListen(config, check);
  check.NotEmpty("model_dir", config.model_dir());
  check.NotEmpty("model_name", config.model_name());
  const bool listed = !config.has_registry();
  if (listed && config.prefill_workers().empty())
    check.Fail("prefill_workers", "needs at least one");
  for (const auto& endpoint : config.prefill_workers()) check.Endpoint("prefill_workers", endpoint);
  if (listed && config.decode_workers().empty()) check.Fail("decode_workers", "needs at least one");
  for (const auto& endpoint : config.decode_workers()) check.Endpoint("decode_workers", endpoint);
  check.InRange("requests_max", config.requests_max(), {.min = 1, .max = 1U << 20});
  check.InRange("max_tokens_default", config.max_tokens_default(), {.min = 1, .max = 1U << 24});
  check.Positive("deadline_max", config.deadline_max());
  check.Positive("heartbeat_interval", config.heartbeat_interval());
  check.InRange("logprobs_max", config.logprobs_max(), {.min = 0, .max = 1000});
  check.InRange("choices_max", config.choices_max(), {.min = 1, .max = 1024});
  check.InRange("message_bytes_max", config.message_bytes_max(), {.min = 1024, .max = 1U << 30});
  check.Positive("drain_timeout", config.drain_timeout());
  check.InRange("stream_tokens_max", config.stream_tokens_max(), {.min = 1, .max = 1U << 24});
  RETURN_IF_ERROR(check.status());
  RETURN_IF_ERROR(ValidateSlo(config.slo()));
  return config.has_registry() ? ValidateRegistry(config.registry()) : absl::OkStatus();
}

absl::Status Validate(const v1::PrefillConfig& config) {
  RETURN_IF_ERROR(ValidateWorker(config.worker()));
  FieldCheck check;
  check.InRange("chunk_tokens", config.chunk_tokens(), {.min = 1, .max = 1U << 16});
  check.InRange("requests_max", config.requests_max(), {.min = 1, .max = 1U << 20});
  if (!v1::KvChannelKind_IsValid(config.kv_channel_kind())) {
    check.Fail("kv_channel_kind", "is no known kind");
  }
  if (config.kv_channel_kind() == v1::KV_CHANNEL_KIND_NCCL &&
      config.worker().device() != v1::DEVICE_CUDA) {
    check.Fail("kv_channel_kind", "NCCL is for worker.device: DEVICE_CUDA only");
  }
  if (!v1::KvChannelPolicy_IsValid(config.kv_channel())) {
    check.Fail("kv_channel", "is no known policy");
  }
  check.InRange("staging_pages", config.staging_pages(), {.min = 1, .max = 1U << 24});
  check.InRange("staging_slots", config.staging_slots(), {.min = 1, .max = 1U << 16});
  check.Positive("link_timeout", config.link_timeout());
  if (config.has_queue_wait_max()) check.Positive("queue_wait_max", config.queue_wait_max());
  for (const auto& pattern : config.decode_workers_allowed()) {
    check.EndpointPattern("decode_workers_allowed", pattern);
  }
  return check.status();
}

absl::Status Validate(const v1::DecodeConfig& config) {
  RETURN_IF_ERROR(ValidateWorker(config.worker()));
  FieldCheck check;
  check.InRange("pages", config.pages(), {.min = 1, .max = 1U << 24});
  check.InRange("slots", config.slots(), {.min = 1, .max = 1U << 16});
  check.InRange("batch_max", config.batch_max(), {.min = 1, .max = 1U << 16});
  check.Positive("lease_ttl", config.lease_ttl());
  // Port 0: with `listen` on any free port the endpoint is known only once it is bound.
  check.Listen("endpoint", config.endpoint());
  check.InRange("stream_tokens_max", config.stream_tokens_max(), {.min = 1, .max = 1U << 24});
  return check.status();
}

std::vector<int> GpusOf(const v1::WorkerConfig& worker) {
  std::vector<int> out(worker.gpus().begin(), worker.gpus().end());
  for (int r = static_cast<int>(out.size()); r < static_cast<int>(worker.tensor_parallel()); ++r) {
    out.push_back(static_cast<int>(worker.gpu()) + r);
  }
  return out;
}

}  // namespace tandem
