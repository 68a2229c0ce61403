// SPDX-License-Identifier: Apache-2.0
// Strand: runs posted functions one after another, in the order of posting, on whichever thread
// posts while nobody runs.
//
// Reactions of gRPC post to the strand of their request and return; what is posted needs no lock
// among itself, and gRPC calls made in it hold none. A function posted from inside one runs after
// it, not within it. Thread-safe.
#pragma once

#include <deque>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace tandem {

class Strand {
 public:
  Strand() = default;
  Strand(const Strand&) = delete;
  Strand& operator=(const Strand&) = delete;

  void Post(std::function<void()> body) ABSL_LOCKS_EXCLUDED(mutex_);

  // The last function: it may delete the object that the strand is a member of. Nothing is posted
  // after it.
  void PostLast(std::function<void()> body) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Item {
    std::function<void()> body;
    bool last = false;
  };

  void Push(Item item) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  std::deque<Item> items_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem
