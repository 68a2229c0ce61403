// SPDX-License-Identifier: Apache-2.0
// NcclPort: what a worker's hand-offs by NCCL share: its calls, and for each rank queues and memory
// for messages, which go from a link that ends to the next. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/runtime/kv/kv_storage.h"
#include "services/runtime/transfer/nccl/nccl.h"

namespace tandem {

class NcclPort {
 public:
  // The largest message. Rows are packed into it and unpacked from it, so that a page costs no
  // message of its own.
  static constexpr int64_t kMessageBytes = 32 << 20;
  // Communicators take memory of the GPUs beside what the worker has planned.
  static constexpr int kLinksMax = 8;

  // By NCCL itself; null where there is none, or the ranks are on no GPUs, as `why` then says.
  static std::unique_ptr<NcclPort> Find(KvStorage::Backends backends, std::string* why);
  // Each rank's; all is borrowed.
  NcclPort(Nccl& nccl, KvStorage::Backends backends);
  ~NcclPort();
  NcclPort(const NcclPort&) = delete;
  NcclPort& operator=(const NcclPort&) = delete;

  Nccl& nccl() const { return nccl_; }
  int ranks() const { return static_cast<int>(backends_.size()); }

  struct Lane {
    kernels::Backend* backend = nullptr;
    kernels::Stream stream;
    uint8_t* memory = nullptr;  // kMessageBytes
  };
  // One on each of the first `ranks` ranks. RESOURCE_EXHAUSTED without memory, or if kLinksMax
  // links have theirs or have not ended yet.
  absl::StatusOr<std::vector<Lane>> Take(int ranks) ABSL_LOCKS_EXCLUDED(mutex_);

  // Communicators of one link that end beside the caller.
  class Ending;
  // What runs for them on GPUs ends soon; but NCCL keeps the call until the other side has ended
  // its own, and a peer that is stopped never does. Lives until its lanes are given.
  Ending* Abort(std::vector<Nccl::Comm> comms) ABSL_LOCKS_EXCLUDED(mutex_);
  // Nothing runs in them any more; the next link has them once `ending`, which may be null, is
  // over. What does run after all is never given back, nor released.
  void Give(std::vector<Lane> lanes, Ending* ending = nullptr) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Keep(std::vector<Lane> lanes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes back what links have left behind. Whether no link is ending.
  bool Reap() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Nccl& nccl_;
  const std::vector<kernels::Backend*> backends_;
  absl::Mutex mutex_;
  std::vector<std::vector<Lane>> free_ ABSL_GUARDED_BY(mutex_);  // by rank
  int taken_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<Ending>> ending_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tandem
