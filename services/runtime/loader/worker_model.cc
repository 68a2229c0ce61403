// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/worker_model.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/select.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {

absl::StatusOr<WorkerModel> LoadWorkerModel(const v1::WorkerConfig& config) {
  const bool reference = config.kernels() == v1::KERNELS_CPU_REFERENCE;
  const kernels::KernelTable& table =
      kernels::SelectKernels(reference ? kernels::Device::kCpuReference : kernels::Device::kCpu);
  ASSIGN_OR_RETURN(std::unique_ptr<LoadedModel> loaded,
                   LoadedModel::Load(config.model_dir(), table));
  return WorkerModel{.kernels = table, .loaded = std::move(loaded)};
}

absl::StatusOr<int64_t> ContextTokens(const v1::WorkerConfig& config, const ModelConfig& model,
                                      int64_t pool_tokens) {
  const int64_t most = std::min<int64_t>(model.max_position_embeddings, pool_tokens);
  if (!config.has_context_tokens_max()) return most;
  if (config.context_tokens_max() <= most) return config.context_tokens_max();
  return absl::InvalidArgumentError(
      absl::StrCat("worker.context_tokens_max: at most ", most,
                   " (the model's max_position_embeddings ", model.max_position_embeddings,
                   ", the pool's ", pool_tokens, "), got ", config.context_tokens_max()));
}

uint64_t RandomId() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

}  // namespace tandem
