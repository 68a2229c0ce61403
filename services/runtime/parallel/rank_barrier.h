// SPDX-License-Identifier: Apache-2.0
// RankBarrier: where the threads of a group's ranks wait for each other, and never for ever.
// Thread-safe; each rank has one thread in it at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace tandem {

class RankBarrier {
 public:
  // `limit` is how long a rank waits for the others.
  RankBarrier(int ranks, absl::Duration limit);
  RankBarrier(const RankBarrier&) = delete;
  RankBarrier& operator=(const RankBarrier&) = delete;

  // Returns when all ranks have come; what each wrote before, all see then. DEADLINE_EXCEEDED
  // naming the ranks that have not come within the limit. After the first error, this one's or
  // Fail's, every call is that error at once.
  absl::Status Meet(int rank) ABSL_LOCKS_EXCLUDED(mutex_);

  // Ends all waits.
  void Fail(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status failure() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status Wait(uint64_t round, absl::Time until) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Missing() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const absl::Duration limit_;
  std::atomic<uint64_t> rounds_ = 0;  // that all ranks have ended; written under the mutex
  mutable absl::Mutex mutex_;
  std::vector<bool> here_ ABSL_GUARDED_BY(mutex_);
  size_t count_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tandem
