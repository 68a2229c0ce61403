// SPDX-License-Identifier: Apache-2.0
// Rate: events a second, smoothed over about one second; decays by itself when nothing comes.
// Thread-safe.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace tandem {

class Rate {
 public:
  void Add(double count, absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);
  double PerSecond(absl::Time now) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  double Decayed(absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  double rate_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace tandem
