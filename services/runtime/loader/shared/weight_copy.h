// SPDX-License-Identifier: Apache-2.0
// WeightCopy: one copy of a rank's prepared weights that processes of one machine hold together.
//
// Its holder makes the memory, fills it and publishes it; others find it by the model's name and by
// where it lies, and read it. In a GPU's memory they are given a handle of it, and a shared memory
// object keeps what says so and the locks; on the host the weights are in the object. The memory is
// others' to read as long as the holder lives: who finds that it does not, ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/common/backend/memory.h"
#include "services/runtime/kv/shared_memory.h"
#include "services/runtime/model/config/shard.h"

namespace tandem {

class WeightCopy {
 public:
  struct Wanted {
    std::string model;  // its name
    // Other ranks of as many have copies of their own, on one device as well: they are passed over.
    Shard shard;
    // All that must be equal for two copies to be one (weight_identity.h); for a log.
    std::string identity;
    int64_t bytes = 0;
    kernels::Backend& backend;  // where they are computed with; outlives the copy
  };
  // How long a copy is waited for whose holder has not come: both workers of a pod start at once.
  static constexpr absl::Duration kPatience = absl::Seconds(60);

  // Memory that nobody else sees yet. RESOURCE_EXHAUSTED; UNAVAILABLE where memory is not shared.
  static absl::StatusOr<std::unique_ptr<WeightCopy>> Hold(const Wanted& wanted);
  // Once it is filled.
  void Publish();

  // A holder's, published; waits for one, and for as long as it fills its copy or another rank's on
  // this device; a line of the log says for what, and what is there. NOT_FOUND after `patience`
  // without, naming the device, the rank and those found; FAILED_PRECONDITION naming both if it
  // holds other weights.
  static absl::StatusOr<std::unique_ptr<WeightCopy>> Follow(const Wanted& wanted,
                                                            absl::Duration patience = kPatience);

  ~WeightCopy();
  WeightCopy(const WeightCopy&) = delete;
  WeightCopy& operator=(const WeightCopy&) = delete;

  uint8_t* memory() const { return memory_; }
  // Of a copy that is followed. Any thread.
  bool HolderAlive() const { return object_->OwnerAlive(); }

 private:
  explicit WeightCopy(kernels::Backend& backend) : backend_(backend), own_(backend) {}
  class Search;

  kernels::Backend& backend_;
  kernels::Memory own_;
  uint8_t* imported_ = nullptr;
  uint8_t* memory_ = nullptr;
  std::unique_ptr<SharedMemory> object_;  // last: the mapping ends before the lock says so
};

}  // namespace tandem
