// SPDX-License-Identifier: Apache-2.0
// LoadedModel: a rank's part of a model, bound, checked and prepared for one kernel set; what a
// worker holds.
//
// Owns what was prepared, in one piece of the backend's memory, and the views of it; on the host
// also the checkpoint's mapping, which is read in place beside. On a GPU the weights' `bytes` and
// `scales` are the prepared ones too: nothing of the checkpoint is left. Not movable, because
// models borrow weights(). Thread-safe once loaded. Errors: those of ModelConfig, ShardConfig,
// Checkpoint, BindWeights and FillWeights; RESOURCE_EXHAUSTED when weights do not fit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/common/backend/memory.h"
#include "kernels/kernel_set.h"
#include "services/runtime/loader/store/tensor_store.h"
#include "services/runtime/loader/weight_binder.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/model/config/shard.h"
#include "services/runtime/model/weights.h"

namespace tandem {

enum class LoadFormat {
  kCheckpoint,  // the folder's safetensors
  kDummy,       // made up (store/dummy_weights.h); of the folder only config.json is read
};

struct LoadOptions {
  std::string folder;
  kernels::KernelSet kernels;
  Shard shard;  // default: the whole model
  LoadFormat format = LoadFormat::kCheckpoint;
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
  // In the backend's memory.
  int64_t bytes() const { return memory_.bytes(); }

 private:
  struct Parts {
    ModelConfig config;
    ModelConfig shard_config;
  };
  LoadedModel(Parts parts, kernels::Backend& backend);
  absl::Status Fill(const LoadOptions& options);

  const ModelConfig config_;
  const ModelConfig shard_config_;
  std::unique_ptr<TensorStore> store_;  // null once nothing is read from it any more
  BoundWeights bound_;
  kernels::Memory memory_;
};

}  // namespace tandem
