// SPDX-License-Identifier: Apache-2.0
// LoadedModel: a rank's part of a checkpoint folder, bound, checked and prepared for one kernel
// set; what a worker holds.
//
// Owns the mapping, what was made of it in the backend's memory, and the views into both: prepared
// linears, and on a GPU every other tensor as well. Not movable, because models borrow weights().
// Thread-safe once loaded. Load writes its progress to the log, at most one line
// a second. Errors: those of ModelConfig, ShardConfig, Checkpoint and BindWeights;
// RESOURCE_EXHAUSTED when weights do not fit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/common/backend/memory.h"
#include "kernels/kernel_set.h"
#include "services/runtime/loader/checkpoint.h"
#include "services/runtime/loader/weight_binder.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/model/config/shard.h"
#include "services/runtime/model/weights.h"

namespace tandem {

struct LoadOptions {
  std::string folder;
  kernels::KernelSet kernels;
  Shard shard;  // default: the whole model
};

class LoadedModel {
 public:
  static absl::StatusOr<std::unique_ptr<LoadedModel>> Load(const LoadOptions& options);
  LoadedModel(const LoadedModel&) = delete;
  LoadedModel& operator=(const LoadedModel&) = delete;

  // Of the whole model, and of the part that weights() is.
  const ModelConfig& config() const { return config_; }
  const ModelConfig& shard_config() const { return shard_config_; }
  const Weights& weights() const { return bound_.weights; }
  // Of the checkpoint, and of what was made of it beside.
  uint64_t checkpoint_bytes() const { return checkpoint_.bytes(); }
  uint64_t prepared_bytes() const { return static_cast<uint64_t>(memory_.bytes()); }

 private:
  struct Parts {
    ModelConfig config;
    ModelConfig shard_config;
    Checkpoint checkpoint;
    BoundWeights bound;
  };
  LoadedModel(Parts parts, kernels::Backend& backend);
  absl::Status Prepare(const kernels::KernelTable& table);
  absl::Status Upload();
  absl::StatusOr<uint8_t*> Take(int64_t bytes);

  const ModelConfig config_;
  const ModelConfig shard_config_;
  const Checkpoint checkpoint_;
  BoundWeights bound_;
  kernels::Memory memory_;
};

}  // namespace tandem
