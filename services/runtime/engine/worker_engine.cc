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
  return WorkerEngine{
      .loaded = nullptr, .engine = std::move(engine), .context_tokens_max = context};
}

}  // namespace

absl::StatusOr<WorkerEngine> MakeWorkerEngine(const v1::WorkerConfig& config,
                                              const WorkerEngineOptions& options) {
  if (config.engine() == v1::ENGINE_SIM) return Simulated(config, options);
  const bool reference = config.kernels() == v1::KERNELS_CPU_REFERENCE;
  const kernels::KernelTable& table =
      kernels::SelectKernels(reference ? kernels::Device::kCpuReference : kernels::Device::kCpu);
  ASSIGN_OR_RETURN(std::unique_ptr<LoadedModel> loaded,
                   LoadedModel::Load(config.model_dir(), table));
  ASSIGN_OR_RETURN(const int64_t context,
                   ContextTokens(config, loaded->config(), options.pool_tokens));
  ASSIGN_OR_RETURN(std::unique_ptr<ModelEngine> engine,
                   ModelEngine::Create(
                       {.config = loaded->config(), .weights = loaded->weights(), .kernels = table},
                       {.max_tokens_per_step = options.tokens_per_step,
                        .max_chunks_per_step = options.chunks_per_step,
                        .max_positions = context}));
  return WorkerEngine{
      .loaded = std::move(loaded), .engine = std::move(engine), .context_tokens_max = context};
}

uint64_t RandomId() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

}  // namespace tandem
