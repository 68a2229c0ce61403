// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/plan/arrivals.h"

#include <cmath>

namespace tandem {
namespace {

// The time at which a rate that goes from `spec.rate_begin` to `spec.rate_end` has called for
// `count` arrivals.
double SecondsAt(const ArrivalSpec& spec, double count) {
  const double before = absl::ToDoubleSeconds(spec.ramp_begin);
  const double ramp = absl::ToDoubleSeconds(spec.ramp);
  const double a = spec.rate_begin;
  const double b = spec.rate_end;
  if (a == b || count <= a * before) return count / a;
  count -= a * before;
  const double in_ramp = (a + b) / 2 * ramp;
  if (count >= in_ramp) return before + ramp + (count - in_ramp) / b;
  // count = a t + (b - a) t^2 / (2 ramp), in the form that loses no digits.
  const double slope = (b - a) / ramp;
  return before + 2 * count / (a + std::sqrt(a * a + 2 * slope * count));
}

}  // namespace

Arrivals::Arrivals(const ArrivalSpec& spec, uint64_t seed)
    : spec_(spec), random_(seed, Draws::kArrivals) {
  if (spec.burstiness == 0) expected_ = -1;  // The first one is due at 0.
}

absl::Duration Arrivals::Next() {
  expected_ += spec_.burstiness == 0 ? 1 : random_.Gamma(spec_.burstiness) / spec_.burstiness;
  return absl::Seconds(SecondsAt(spec_, expected_));
}

}  // namespace tandem
