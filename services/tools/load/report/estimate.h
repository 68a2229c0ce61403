// SPDX-License-Identifier: Apache-2.0
// Estimate: a number that a run measured, with its 99.9 % interval. Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <optional>

#include "services/tools/load/result/load_result.h"

namespace tandem {

struct Interval {
  double low = 0;
  double high = 0;
};

struct Estimate {
  double value = 0;
  std::optional<Interval> interval;  // absent: too few samples
};

// In milliseconds. `samples` is how many of the histogram's values are independent, at most.
Estimate QuantileOf(const LatencyHistogram& histogram, double q, uint64_t samples);
Estimate MeanOf(const LatencyHistogram& histogram, uint64_t samples);

// `hits` of `trials`; Wilson's interval.
Estimate ShareOf(uint64_t hits, uint64_t trials);

// `value` is a rate of the whole run; how much `count` of the timeline moves in it says how well it
// is known. Short runs take the deviation of a Poisson process of as many requests instead.
Estimate RateOf(const LoadResult& result, double value, uint64_t TimelinePoint::*count);

// b - a of independent estimates.
Estimate DifferenceOf(const Estimate& a, const Estimate& b);

}  // namespace tandem
