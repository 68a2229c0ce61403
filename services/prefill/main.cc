// SPDX-License-Identifier: Apache-2.0
// tandem-prefill: reads prompts. Parts are built here, bottom up, and joined nowhere else.
#include <algorithm>
#include <memory>
#include <utility>

#include "services/prefill/prefill_loop.h"
#include "services/prefill/prefill_service.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/random.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/config/program.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/engine/warm_up.h"
#include "services/runtime/engine/worker_engine.h"
#include "services/runtime/loader/shared/holder_watch.h"
#include "services/runtime/rpc/registrar/registrar.h"
#include "services/runtime/rpc/serve.h"

namespace tandem {
namespace {

// Both sides' attempt is over before the link is given up.
constexpr double kNcclShare = 0.75;

absl::StatusOr<StagingPool> MakeStaging(const v1::PrefillConfig& config,
                                        const WorkerEngine& worker) {
  const int pages = static_cast<int>(config.staging_pages());
  const int slots = static_cast<int>(config.staging_slots());
  ASSIGN_OR_RETURN(const KvLayout layout,
                   KvLayout::Create(worker.config(), {.pages = pages, .slots = slots}));
  ASSIGN_OR_RETURN(std::unique_ptr<KvStorage> storage,
                   KvStorage::CreatePrivate(layout, worker.backends));
  return StagingPool{.id = 0, .storage = std::move(storage), .pages = PagePool(pages, slots)};
}

void WarmUp(const WorkerEngine& worker, const StagingPool& staging, int chunk_tokens) {
  WarmUpPrefill(*worker.engine, staging.storage->view(),
                {.chunk_tokens = chunk_tokens, .context_tokens_max = worker.context_tokens_max});
}

// NCCL needs no order to be tried where rows would go as bytes else; but it encrypts nothing, so
// whoever wants TLS has to ask for it by name.
absl::StatusOr<NcclUse> UseNccl(const v1::PrefillConfig& config, NcclPort* port,
                                const std::string& why_not) {
  const bool wanted = config.kv_channel_kind() == v1::KV_CHANNEL_KIND_NCCL;
  if (wanted && port == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("kv_channel_kind: KV_CHANNEL_KIND_NCCL: ", why_not));
  }
  const absl::Duration limit = kNcclShare * FromProto(config.link_timeout());
  if (!wanted && config.has_decode_tls())
    return NcclUse{.why_not = "not beside decode_tls, if not kv_channel_kind: says so"};
  return NcclUse{.port = port, .why_not = why_not, .limit = limit};
}

absl::StatusOr<PrefillLoop::Options> LoopOptions(const v1::PrefillConfig& config,
                                                 const WorkerEngine& worker) {
  ASSIGN_OR_RETURN(ChannelCredentials credentials,
                   MakeChannelCredentials(
                       "decode_tls", config.has_decode_tls() ? &config.decode_tls() : nullptr));
  PrefillLoop::Options options;
  options.incarnation = RandomId();
  options.admission = {.requests_max = static_cast<int>(config.requests_max()),
                       .context_tokens_max = worker.context_tokens_max,
                       .vocab_size = static_cast<uint32_t>(worker.config().vocab_size),
                       .chunk_tokens = static_cast<int>(config.chunk_tokens())};
  if (config.has_queue_wait_max()) {
    options.admission.queue_wait_max = FromProto(config.queue_wait_max());
  }
  options.preferred = config.kv_channel_kind();
  options.strict = config.kv_channel() == v1::KV_CHANNEL_POLICY_STRICT;
  options.link_timeout = FromProto(config.link_timeout());
  options.decode_workers_allowed = {config.decode_workers_allowed().begin(),
                                    config.decode_workers_allowed().end()};
  options.decode_credentials = std::move(credentials);
  options.decode_server_name = config.decode_tls().server_name();
  return options;
}

absl::Status Run(const v1::PrefillConfig& config) {
  ShutdownSignals signals;
  RouteGrpcLog();
  ASSIGN_OR_RETURN(ServerCredentials credentials, ListenCredentials("worker.tls", config.worker()));
  const int chunk = static_cast<int>(config.chunk_tokens());
  // The pool that limits a sequence is the decode worker's, which has its own say.
  ASSIGN_OR_RETURN(
      const WorkerEngine worker,
      MakeWorkerEngine(config.worker(), {.reads_prompts = true,
                                         .tokens_per_step = chunk,
                                         .chunks_per_step = std::min(
                                             chunk, static_cast<int>(config.requests_max()))}));
  const HolderWatch holder(worker.loaded, ShutdownSignals::Request);
  ASSIGN_OR_RETURN(StagingPool staging, MakeStaging(config, worker));
  WarmUp(worker, staging, chunk);
  ASSIGN_OR_RETURN(const std::unique_ptr<MetricsRegistry> registry,
                   MetricsRegistry::Create({.role = ProcessRole::kPrefill,
                                            .model_name = config.worker().model_name(),
                                            .listen = config.worker().metrics_listen(),
                                            .version = Version(),
                                            .config_hash = ConfigHash(config),
                                            .compat = config.worker().metrics_compat(),
                                            .bounds = config.worker().histogram_bounds()}));
  PrefillMetrics metrics(*registry);
  WatchService watch;
  ASSIGN_OR_RETURN(PrefillLoop::Options options, LoopOptions(config, worker));
  std::string no_nccl;
  const std::unique_ptr<NcclPort> nccl = NcclPort::Find(worker.backends, &no_nccl);
  ASSIGN_OR_RETURN(options.nccl, UseNccl(config, nccl.get(), no_nccl));
  PrefillLoop loop(options, {.engine = *worker.engine,
                             .staging = std::move(staging),
                             .watch = watch,
                             .metrics = metrics});
  PrefillServiceImpl service(loop);
  ASSIGN_OR_RETURN(const std::unique_ptr<RpcServer> server,
                   RpcServer::Create({.listen = config.worker().listen(),
                                      .credentials = std::move(credentials),
                                      .health_listen = config.worker().health_listen(),
                                      .services = {&service, &watch},
                                      .health_names = {v1::PrefillService::service_full_name()}}));
  LogInfo("serving", {{"port", server->port()},
                      {"metrics_port", registry->port()},
                      {"model", config.worker().model_name()},
                      {"chunk_tokens", chunk},
                      {"nccl", options.nccl.port != nullptr ? "yes" : options.nccl.why_not},
                      {"context_tokens_max", worker.context_tokens_max}});
  ASSIGN_OR_RETURN(const std::unique_ptr<Registrar> registrar,
                   Registrar::Create(config.worker(), watch));
  ServeUntilSignal({.server = *server,
                    .signals = signals,
                    .drain_timeout = FromProto(config.worker().drain_timeout()),
                    .drain =
                        [&loop, &registrar] {
                          registrar->Leave();
                          loop.Drain();
                        },
                    .idle = [&loop] { return loop.Idle(); },
                    .close = [&watch] { watch.CloseAll(); }});
  return holder.status();
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  return tandem::RunProgram<tandem::v1::PrefillConfig>(
      {.name = "tandem-prefill",
       .role = "prefill",
       .purpose = "reads prompts into the KV cache of decode workers"},
      {.load = tandem::LoadPrefillConfig, .run = tandem::Run}, argc, argv);
}
