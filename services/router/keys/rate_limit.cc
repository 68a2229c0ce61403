// SPDX-License-Identifier: Apache-2.0
#include "services/router/keys/rate_limit.h"

#include <algorithm>
#include <cmath>

namespace tandem {

absl::Duration RateLimit::Take(absl::Time now) {
  if (std::isinf(rate_.per_second)) return absl::ZeroDuration();
  if (filled_ != absl::InfinitePast()) {
    const double gained = absl::ToDoubleSeconds(now - filled_) * rate_.per_second;
    left_ = std::min(rate_.burst, left_ + std::max(0.0, gained));
  }
  filled_ = now;
  if (left_ < 1) return absl::Seconds((1 - left_) / rate_.per_second);
  left_ -= 1;
  return absl::ZeroDuration();
}

}  // namespace tandem
