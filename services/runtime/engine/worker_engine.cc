// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/worker_engine.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/select.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/engine/model_engine.h"
#include "services/runtime/engine/sim_engine.h"

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
  out.context_tokens_max = context;
  return out;
}

// What the config names; `gpu` becomes the owner of a GPU's memory.
absl::StatusOr<kernels::KernelSet> KernelsOf(const v1::WorkerConfig& config,
                                             std::unique_ptr<kernels::Backend>& gpu) {
  if (config.device() != v1::DEVICE_CUDA) {
    const bool reference = config.kernels() == v1::KERNELS_CPU_REFERENCE;
    return kernels::SelectKernels(reference ? kernels::Device::kCpuReference
                                            : kernels::Device::kCpu);
  }
  kernels::Gpu selected = kernels::SelectGpu(static_cast<int>(config.gpu()));
  if (selected.backend == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("worker.device: ", selected.why));
  }
  gpu = std::move(selected.backend);
  LogInfo("device", {{"device", gpu->Describe()}});
  return kernels::KernelSet(*selected.table, *gpu);
}

}  // namespace

absl::StatusOr<WorkerEngine> MakeWorkerEngine(const v1::WorkerConfig& config,
                                              const WorkerEngineOptions& options) {
  if (config.engine() == v1::ENGINE_SIM) return Simulated(config, options);
  WorkerEngine out;
  ASSIGN_OR_RETURN(const kernels::KernelSet kernels, KernelsOf(config, out.gpu));
  ASSIGN_OR_RETURN(out.loaded,
                   LoadedModel::Load({.folder = config.model_dir(), .kernels = kernels}));
  ASSIGN_OR_RETURN(out.context_tokens_max,
                   ContextTokens(config, out.loaded->config(), options.pool_tokens));
  ASSIGN_OR_RETURN(out.engine, ModelEngine::Create({.config = out.loaded->shard_config(),
                                                    .weights = out.loaded->weights(),
                                                    .kernels = kernels},
                                                   {.max_tokens_per_step = options.tokens_per_step,
                                                    .max_chunks_per_step = options.chunks_per_step,
                                                    .max_positions = out.context_tokens_max}));
  return out;
}

uint64_t RandomId() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

}  // namespace tandem
