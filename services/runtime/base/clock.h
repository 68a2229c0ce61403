// SPDX-License-Identifier: Apache-2.0
// Clock: the one source of time, so that tests and the simulator can own it.
// Times are absl::Time on a steady base: they never jump back while the process lives.
#pragma once

#include "absl/time/time.h"

namespace tandem {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;

  // The process-wide steady clock.
  static const Clock& Real();
};

// A clock that moves only when told to. Not thread-safe.
class ManualClock final : public Clock {
 public:
  absl::Time Now() const override { return now_; }
  void Advance(absl::Duration by) { now_ += by; }

 private:
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
};

}  // namespace tandem
