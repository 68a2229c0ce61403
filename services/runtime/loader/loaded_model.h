// SPDX-License-Identifier: Apache-2.0
// LoadedModel: a rank's part of a model, bound, checked and prepared for one kernel set; what a
// worker holds.
//
// Owns what was prepared, in one piece of the backend's memory, or has it of a process that holds
// it for others (shared/), and the views of it; on the host also the checkpoint's mapping, which is
// read in place beside. On a GPU the weights' `bytes` and `scales` are the prepared ones too:
// nothing of the checkpoint is left. Not movable, because models borrow weights(). Thread-safe once
// loaded. Errors: those of ModelConfig, ShardConfig, Checkpoint, BindWeights, FillWeights and
// WeightCopy; RESOURCE_EXHAUSTED when weights do not fit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/common/backend/memory.h"
#include "kernels/kernel_set.h"
#include "services/runtime/loader/shared/weight_copy.h"
#include "services/runtime/loader/store/tensor_store.h"
#include "services/runtime/loader/weight_binder.h"
#include "services/runtime/loader/weight_plan.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/model/config/shard.h"
#include "services/runtime/model/weights.h"

namespace tandem {

enum class LoadFormat {
  kCheckpoint,  // the folder's safetensors
  kDummy,       // made up (store/dummy_weights.h); of the folder only config.json is read
};

// Whose memory what is prepared lies in.
enum class WeightHome {
  kOwn,
  kHeld,      // of this process, for others as well
  kFollowed,  // of a process that holds it
};

struct LoadOptions {
  std::string folder;
  kernels::KernelSet kernels;
  Shard shard;  // default: the whole model
  LoadFormat format = LoadFormat::kCheckpoint;
  WeightHome home = WeightHome::kOwn;
  std::string model_name = {};  // but for kOwn: under which others find it
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
  // What was prepared.
  int64_t bytes() const { return bytes_; }

  // Whether it lies in another process's memory; whether that is still there.
  bool follows() const { return follows_; }
  bool HolderAlive() const { return copy_->HolderAlive(); }

 private:
  struct Parts {
    ModelConfig config;
    ModelConfig shard_config;
  };
  LoadedModel(Parts parts, kernels::Backend& backend);
  absl::Status Fill(const LoadOptions& options);
  absl::StatusOr<uint8_t*> Take(const LoadOptions& options, const WeightPlan& plan);

  const ModelConfig config_;
  const ModelConfig shard_config_;
  std::unique_ptr<TensorStore> store_;  // null once nothing is read from it any more
  BoundWeights bound_;
  kernels::Memory memory_;
  std::unique_ptr<WeightCopy> copy_;  // null: all of it is in memory_
  int64_t bytes_ = 0;
  bool follows_ = false;
};

}  // namespace tandem
