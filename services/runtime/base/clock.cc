// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/base/clock.h"

#include <chrono>

#include "absl/time/clock.h"

namespace tandem {
namespace {

// Wall time at start plus steady time since: readable in logs, monotonic in arithmetic.
class RealClock final : public Clock {
 public:
  absl::Time Now() const override {
    return start_ + absl::FromChrono(std::chrono::steady_clock::now() - steady_start_);
  }

 private:
  absl::Time start_ = absl::Now();
  std::chrono::steady_clock::time_point steady_start_ = std::chrono::steady_clock::now();
};

}  // namespace

const Clock& Clock::Real() {
  static const RealClock* const kClock = new RealClock();
  return *kClock;
}

}  // namespace tandem
