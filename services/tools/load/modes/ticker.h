// SPDX-License-Identifier: Apache-2.0
// Ticker: calls a function at an interval, on a thread of its own, until it is destroyed. A call
// that takes longer than the interval delays the next ones.
#pragma once

#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/base/thread.h"

namespace tandem {

class Ticker {
 public:
  Ticker(absl::Duration interval, std::function<void()> tick);
  // Waits for a call that runs.
  ~Ticker();

 private:
  absl::Mutex mutex_;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  Thread thread_;
};

}  // namespace tandem
