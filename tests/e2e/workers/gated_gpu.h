// SPDX-License-Identifier: Apache-2.0
// GatedGpu: a GPU whose queue stands still while its gate is shut: what was queued is copied when
// it opens, and has not finished until then. Thread-safe.
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "tests/e2e/workers/fake_gpu.h"

namespace tandem {

class GatedGpu final : public FakeGpu {
 public:
  explicit GatedGpu(std::string name) : FakeGpu(std::move(name)) {}

  void Shut() { Set(true); }
  void Open() { Set(false); }

  // Bytes of each order to copy, as they came.
  std::vector<int64_t> orders() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return orders_;
  }
  // Whether one waits at the gate, before long.
  bool AwaitOrder() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto waits = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !queue_.empty(); };
    return mutex_.AwaitWithTimeout(absl::Condition(&waits), absl::Seconds(60));
  }

  void CopyMany(std::span<const kernels::CopyArgs> copies, kernels::Stream& /*stream*/) override
      ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto add = [](int64_t sum, const kernels::CopyArgs& copy) { return sum + copy.bytes; };
    orders_.push_back(std::accumulate(copies.begin(), copies.end(), int64_t{0}, add));
    queue_.insert(queue_.end(), copies.begin(), copies.end());
    if (!shut_) Run();
  }
  // Past the gate: a link's self-test is none of the orders.
  void CopyManyNow(std::span<const kernels::CopyArgs> copies) override {
    for (const kernels::CopyArgs& copy : copies) CopyNow(copy);
  }
  bool Finished(kernels::Stream& /*stream*/) override ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return !shut_;
  }
  bool Synchronize(kernels::Stream& stream) override ABSL_LOCKS_EXCLUDED(mutex_) {
    const auto open = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !shut_; };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&open));
    return stream.ok();
  }

 private:
  void Set(bool shut) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    shut_ = shut;
    if (!shut) Run();
  }
  void Run() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (const kernels::CopyArgs& copy : queue_) CopyNow(copy);
    queue_.clear();
  }

  mutable absl::Mutex mutex_;
  bool shut_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<kernels::CopyArgs> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<int64_t> orders_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tandem
