// SPDX-License-Identifier: Apache-2.0
// LoadedModel: a checkpoint folder, bound, checked and prepared for one kernel table; what a worker
// holds.
//
// Owns the mapping, the prepared weights and the views into both; not movable, because models
// borrow weights(). Thread-safe once loaded. Load writes its progress to the log, at most one line
// a second. Errors: those of ModelConfig, Checkpoint and BindWeights; RESOURCE_EXHAUSTED when
// prepared weights do not fit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/kernel_table.h"
#include "services/runtime/loader/checkpoint.h"
#include "services/runtime/loader/weight_binder.h"
#include "services/runtime/model/model_config.h"
#include "services/runtime/model/weights.h"

namespace tandem {

class LoadedModel {
 public:
  static absl::StatusOr<std::unique_ptr<LoadedModel>> Load(const std::string& folder,
                                                           const kernels::KernelTable& kernels);
  LoadedModel(const LoadedModel&) = delete;
  LoadedModel& operator=(const LoadedModel&) = delete;

  const ModelConfig& config() const { return config_; }
  const Weights& weights() const { return bound_.weights; }
  // Of the checkpoint, and of the forms that the table's prepare_linear made beside it.
  uint64_t checkpoint_bytes() const { return checkpoint_.bytes(); }
  uint64_t prepared_bytes() const { return prepared_bytes_; }

 private:
  LoadedModel(ModelConfig config, Checkpoint checkpoint, BoundWeights bound);
  absl::Status Prepare(const kernels::KernelTable& kernels);

  const ModelConfig config_;
  const Checkpoint checkpoint_;
  BoundWeights bound_;
  std::vector<std::unique_ptr<uint8_t[]>> prepared_;
  uint64_t prepared_bytes_ = 0;
};

}  // namespace tandem
