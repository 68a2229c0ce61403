// SPDX-License-Identifier: Apache-2.0
// BoundedQueue: many producers, one consumer, never more than `capacity` items. Thread-safe.
// Producers never wait: TryPush says no when full. The consumer waits with a time limit, awake for
// as long of it as it likes.
#pragma once

#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/base/thread.h"

namespace tandem {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  // False when the queue is full or closed; `item` is then untouched.
  [[nodiscard]] bool TryPush(T&& item) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(item));
    return true;
  }

  // For what must not be lost (a cancel, a released lease): past the bound, refused only when
  // closed. Its producers are themselves bounded by what they were admitted for.
  bool PushAlways(T&& item) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (closed_) return false;
    items_.push_back(std::move(item));
    return true;
  }

  // Everything queued, after waiting at most `timeout` for the first item, and `awake` before that.
  // Empty on time-out or when closed.
  std::vector<T> PopAll(absl::Duration timeout, absl::Duration awake = absl::ZeroDuration())
      ABSL_LOCKS_EXCLUDED(mutex_) {
    if (awake > absl::ZeroDuration()) LookFor(awake, [this] { return size() > 0; });
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(this, &BoundedQueue::Ready), timeout);
    std::vector<T> out(std::make_move_iterator(items_.begin()),
                       std::make_move_iterator(items_.end()));
    items_.clear();
    return out;
  }

  void Close() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }

  size_t size() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return items_.size();
  }

 private:
  bool Ready() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closed_ || !items_.empty(); }

  const size_t capacity_;
  mutable absl::Mutex mutex_;
  std::deque<T> items_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem
