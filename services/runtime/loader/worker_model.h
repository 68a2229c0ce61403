// SPDX-License-Identifier: Apache-2.0
// WorkerModel: what a worker process computes with: kernel table, loaded checkpoint, and the
// numbers that follow from both. Models borrow from it; it outlives them.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/kernel_table.h"
#include "services/runtime/loader/loaded_model.h"
#include "tandem/v1/config.pb.h"

namespace tandem {

struct WorkerModel {
  const kernels::KernelTable& kernels;
  std::unique_ptr<LoadedModel> loaded;

  const ModelConfig& config() const { return loaded->config(); }
};

// Chooses the table and loads the checkpoint. Errors: LoadedModel::Load.
absl::StatusOr<WorkerModel> LoadWorkerModel(const v1::WorkerConfig& config);

// The longest sequence: the config's, else the model's, cut to `pool_tokens`. INVALID_ARGUMENT when
// the config asks for more than either holds.
absl::StatusOr<int64_t> ContextTokens(const v1::WorkerConfig& config, const ModelConfig& model,
                                      int64_t pool_tokens);

// Random at every call: names a process.
uint64_t RandomId();

}  // namespace tandem
