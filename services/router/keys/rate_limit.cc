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
  // Short of one by less than a duration can say, as tenths add up, is one: it is taken, or the
  // next call would find it again.
  const absl::Duration wait = absl::Seconds((1 - left_) / rate_.per_second);
  if (wait > absl::ZeroDuration()) return wait;
  left_ -= 1;
  return absl::ZeroDuration();
}

}  // namespace tandem
