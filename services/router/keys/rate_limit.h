// SPDX-License-Identifier: Apache-2.0
// RateLimit: a token bucket. A pure value: time is an argument.
#pragma once

#include <limits>

#include "absl/time/time.h"

namespace tandem {

struct Rate {
  double per_second = std::numeric_limits<double>::infinity();
  double burst = 1;  // at once, after a pause
  friend bool operator==(const Rate&, const Rate&) = default;
};

class RateLimit {
 public:
  explicit RateLimit(const Rate& rate) : rate_(rate), left_(rate.burst) {}

  const Rate& rate() const { return rate_; }

  // Takes one: zero. Or takes none, and says how long until there is one.
  absl::Duration Take(absl::Time now);

 private:
  Rate rate_;
  double left_;
  absl::Time filled_ = absl::InfinitePast();
};

}  // namespace tandem
