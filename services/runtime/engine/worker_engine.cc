// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/worker_engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/select.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/engine/model_engine.h"
#include "services/runtime/engine/sim/sim_engine.h"
#include "services/runtime/engine/tensor_parallel_engine.h"
#include "services/runtime/parallel/host_group.h"

namespace tandem {
namespace {

absl::StatusOr<int64_t> ContextTokens(const v1::WorkerConfig& config, const ModelConfig& model,
                                      std::optional<int64_t> pool_tokens) {
  const int64_t pool = pool_tokens.value_or(model.max_position_embeddings);
  const int64_t most = std::min<int64_t>(model.max_position_embeddings, pool);
  if (!config.has_context_tokens_max()) return most;
  if (config.context_tokens_max() <= most) return config.context_tokens_max();
  return absl::InvalidArgumentError(absl::StrCat("worker.context_tokens_max: at most ", most,
                                                 " (the model's max_position_embeddings ",
                                                 model.max_position_embeddings, ", the pool's ",
                                                 pool, "), got ", config.context_tokens_max()));
}

absl::StatusOr<WorkerEngine> Simulated(const v1::WorkerConfig& config,
                                       const WorkerEngineOptions& options) {
  ASSIGN_OR_RETURN(const ModelConfig model, ModelConfig::FromFolder(config.model_dir()));
  ASSIGN_OR_RETURN(const int64_t context, ContextTokens(config, model, options.pool_tokens));
  const v1::SimConfig& sim = config.sim();
  const bool prefill = options.reads_prompts;
  ASSIGN_OR_RETURN(
      std::unique_ptr<SimEngine> engine,
      SimEngine::Create(
          model, {.reads_prompts = prefill,
                  .step = FromProto(prefill ? sim.prefill_step() : sim.decode_step()),
                  .token = FromProto(prefill ? sim.prefill_token() : sim.decode_sequence())}));
  LogWarning("engine-simulated", {{"model", config.model_name()}});
  WorkerEngine out;
  out.engine = std::move(engine);
  out.backends = {&kernels::HostBackend()};
  out.context_tokens_max = context;
  return out;
}

// What the config names, for each rank; GPUs become the worker's.
absl::StatusOr<std::vector<kernels::KernelSet>> KernelsOf(const v1::WorkerConfig& config,
                                                          WorkerEngine& worker) {
  std::vector<kernels::KernelSet> out;
  if (config.device() != v1::DEVICE_CUDA) {
    const bool reference = config.kernels() == v1::KERNELS_CPU_REFERENCE;
    const kernels::KernelTable& table =
        kernels::SelectKernels(reference ? kernels::Device::kCpuReference : kernels::Device::kCpu);
    for (uint32_t r = 0; r < config.tensor_parallel(); ++r) out.emplace_back(table);
  } else {
    for (const int gpu : GpusOf(config)) {
      kernels::Gpu selected = kernels::SelectGpu(gpu);
      if (selected.backend == nullptr) {
        return absl::FailedPreconditionError(absl::StrCat("worker.device: ", selected.why));
      }
      LogInfo("device", {{"rank", out.size()}, {"device", selected.backend->Describe()}});
      out.emplace_back(*selected.table, *selected.backend);
      worker.gpus.push_back(std::move(selected.backend));
    }
  }
  for (const kernels::KernelSet& kernels : out) worker.backends.push_back(&kernels.backend);
  return out;
}

// All ranks' parts at once.
absl::StatusOr<std::vector<std::unique_ptr<LoadedModel>>> Load(
    const v1::WorkerConfig& config, const std::vector<kernels::KernelSet>& kernels, bool holds) {
  const bool shared = config.weights() == v1::WEIGHTS_SHARED;
  const WeightHome others = holds ? WeightHome::kHeld : WeightHome::kFollowed;
  const int ranks = static_cast<int>(kernels.size());
  std::vector<absl::StatusOr<std::unique_ptr<LoadedModel>>> parts(kernels.size());
  {
    std::vector<std::unique_ptr<Thread>> threads;
    for (int r = 0; r < ranks; ++r) {
      threads.push_back(std::make_unique<Thread>(absl::StrCat("load-", r), [&, r] {
        parts[r] = LoadedModel::Load({.folder = config.model_dir(),
                                      .kernels = kernels[r],
                                      .shard = {.rank = r, .ranks = ranks},
                                      .format = config.load_format() == v1::LOAD_FORMAT_DUMMY
                                                    ? LoadFormat::kDummy
                                                    : LoadFormat::kCheckpoint,
                                      .home = shared ? others : WeightHome::kOwn,
                                      .model_name = config.model_name()});
      }));
    }
  }
  std::vector<std::unique_ptr<LoadedModel>> out;
  for (auto& part : parts) {
    RETURN_IF_ERROR(part.status());
    out.push_back(*std::move(part));
  }
  return out;
}

// Null for one rank.
absl::StatusOr<std::unique_ptr<RankGroup>> GroupOf(const v1::WorkerConfig& config,
                                                   const kernels::KernelTable& table,
                                                   const CommGroupOptions& options) {
  const int ranks = static_cast<int>(config.tensor_parallel());
  if (ranks == 1) return nullptr;
  if (config.device() == v1::DEVICE_CUDA) return MakeDeviceGroup(table, options);
  return std::make_unique<HostGroup>(table, HostGroup::Options{.ranks = ranks});
}

struct EngineParts {
  const v1::WorkerConfig& config;
  const std::vector<kernels::KernelSet>& kernels;
  const WorkerEngineOptions& options;
};

// The engine of all that the worker holds by now.
absl::StatusOr<std::unique_ptr<Engine>> EngineOf(const WorkerEngine& worker,
                                                 const EngineParts& parts) {
  const auto& [config, kernels, options] = parts;
  const ModelConfig& model = worker.loaded[0]->config();
  const int count = static_cast<int>(kernels.size());
  std::vector<TensorParallelEngine::Rank> ranks;
  for (int r = 0; r < count; ++r) {
    Communicator* const communicator = worker.group == nullptr ? nullptr : &worker.group->rank(r);
    ASSIGN_OR_RETURN(std::unique_ptr<ModelEngine> engine,
                     ModelEngine::Create({.config = worker.loaded[r]->shard_config(),
                                          .weights = worker.loaded[r]->weights(),
                                          .kernels = kernels[r],
                                          .record = config.cuda_graphs() != v1::CUDA_GRAPHS_OFF,
                                          .communicator = communicator,
                                          .sums_mlps = CutsMlps(model, {.rank = r, .ranks = count}),
                                          .draws = r == 0},
                                         {.max_tokens_per_step = options.tokens_per_step,
                                          .max_chunks_per_step = options.chunks_per_step,
                                          .max_positions = worker.context_tokens_max}));
    ranks.push_back({.engine = std::move(engine), .communicator = communicator});
  }
  if (count == 1) return std::move(ranks[0].engine);
  return std::make_unique<TensorParallelEngine>(std::move(ranks),
                                                TensorParallelEngine::Options{.config = model});
}

}  // namespace

absl::StatusOr<WorkerEngine> MakeWorkerEngine(const v1::WorkerConfig& config,
                                              const WorkerEngineOptions& options) {
  if (config.engine() == v1::ENGINE_SIM) return Simulated(config, options);
  if (config.load_format() == v1::LOAD_FORMAT_DUMMY) {
    LogWarning("weights-made-up", {{"model", config.model_name()}});
  }
  WorkerEngine out;
  ASSIGN_OR_RETURN(const std::vector<kernels::KernelSet> kernels, KernelsOf(config, out));
  ASSIGN_OR_RETURN(out.loaded, Load(config, kernels, !options.reads_prompts));
  const ModelConfig& model = out.loaded[0]->config();
  ASSIGN_OR_RETURN(out.context_tokens_max, ContextTokens(config, model, options.pool_tokens));
  ASSIGN_OR_RETURN(out.group, GroupOf(config, kernels[0].table,
                                      {.devices = GpusOf(config),
                                       .dim = model.hidden_size,
                                       .most_tokens = options.tokens_per_step}));
  ASSIGN_OR_RETURN(out.engine,
                   EngineOf(out, {.config = config, .kernels = kernels, .options = options}));
  return out;
}

}  // namespace tandem
