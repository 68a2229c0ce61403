// SPDX-License-Identifier: Apache-2.0
// Outbox: messages waiting for a stream that takes one at a time. Thread-safe.
//
// `start` is what begins a write (StartWrite). It is called with the box locked, so that no write
// begins after Close has returned; it must not call back into the box, and gRPC's does not.
#pragma once

#include <deque>
#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace tandem {

template <typename Message>
class Outbox {
 public:
  using Start = std::function<void(const Message*)>;
  explicit Outbox(Start start) : start_(std::move(start)) {}

  // Written at once if nothing is in flight, else in its turn. Dropped after Close.
  void Push(Message message) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (closed_) return;
    waiting_.push_back(std::move(message));
    if (!writing_) StartNext();
  }

  // The write in flight is done.
  void Next() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!closed_ && !waiting_.empty()) StartNext();
  }

  // False if it was closed before.
  bool Close() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return !std::exchange(closed_, true);
  }

 private:
  void StartNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    current_ = std::move(waiting_.front());
    waiting_.pop_front();
    writing_ = true;
    start_(&current_);
  }

  const Start start_;
  absl::Mutex mutex_;
  std::deque<Message> waiting_ ABSL_GUARDED_BY(mutex_);
  Message current_ ABSL_GUARDED_BY(mutex_);  // gRPC reads it while writing_
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem
