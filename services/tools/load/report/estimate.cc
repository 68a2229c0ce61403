// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/report/estimate.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace tandem {
namespace {

constexpr double kZ = 3.291;  // 99.9 %, two-sided
// Student's t for nine degrees of freedom, at 99.9 %: what ten batches need instead of kZ.
constexpr double kT = 4.781;
constexpr size_t kBatches = 10;
// Samples beyond a quantile that its interval needs; with fewer it has no upper end.
constexpr double kTailSamplesMin = 5;
constexpr uint64_t kSamplesMin = 10;

double Ms(absl::Duration duration) {
  return absl::ToDoubleMilliseconds(duration);
}

}  // namespace

Estimate QuantileOf(const LatencyHistogram& histogram, double q, uint64_t samples) {
  Estimate out = {.value = Ms(histogram.Quantile(q)), .interval = std::nullopt};
  const auto n = static_cast<double>(std::min(samples, histogram.count()));
  if (n * std::min(q, 1 - q) < kTailSamplesMin) return out;
  const double reach = kZ * std::sqrt(q * (1 - q) / n);
  out.interval = Interval{.low = Ms(histogram.Quantile(std::max(0.0, q - reach))),
                          .high = Ms(histogram.Quantile(std::min(1.0, q + reach)))};
  return out;
}

Estimate MeanOf(const LatencyHistogram& histogram, uint64_t samples) {
  Estimate out = {.value = Ms(histogram.Mean()), .interval = std::nullopt};
  const uint64_t n = std::min(samples, histogram.count());
  if (n < kSamplesMin) return out;
  const double reach = kZ * Ms(histogram.StdDev()) / std::sqrt(static_cast<double>(n));
  out.interval = Interval{.low = out.value - reach, .high = out.value + reach};
  return out;
}

Estimate ShareOf(uint64_t hits, uint64_t trials) {
  if (trials == 0) return {};
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(hits) / n;
  const double middle = (p + kZ * kZ / (2 * n)) / (1 + kZ * kZ / n);
  const double reach = kZ / (1 + kZ * kZ / n) * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  return {.value = p,
          .interval = Interval{.low = std::max(0.0, middle - reach),
                               .high = std::min(1.0, middle + reach)}};
}

Estimate RateOf(const LoadResult& result, double value, uint64_t TimelinePoint::*count) {
  Estimate out = {.value = value, .interval = std::nullopt};
  const absl::Duration end = result.measured_from + result.duration;
  std::vector<double> steps;  // those that lie inside the measured time
  for (const TimelinePoint& point : result.timeline) {
    if (point.start >= result.measured_from && point.start + result.timeline_step <= end) {
      steps.push_back(static_cast<double>(point.*count));
    }
  }
  double relative = 0;
  if (steps.size() >= 2 * kBatches) {
    const size_t each = steps.size() / kBatches;
    double sum = 0;
    double squares = 0;
    for (size_t batch = 0; batch < kBatches; ++batch) {
      double total = 0;
      for (size_t i = 0; i < each; ++i) total += steps[batch * each + i];
      sum += total;
      squares += total * total;
    }
    const double mean = sum / kBatches;
    if (mean <= 0) return out;
    const double variance = std::max(0.0, squares - kBatches * mean * mean) / (kBatches - 1);
    relative = kT * std::sqrt(variance / kBatches) / mean;
  } else {
    if (result.counts.completed < kSamplesMin) return out;
    relative = kZ / std::sqrt(static_cast<double>(result.counts.completed));
  }
  out.interval = Interval{.low = value * (1 - relative), .high = value * (1 + relative)};
  return out;
}

Estimate DifferenceOf(const Estimate& a, const Estimate& b) {
  Estimate out = {.value = b.value - a.value, .interval = std::nullopt};
  if (!a.interval || !b.interval) return out;
  out.interval = Interval{
      .low = out.value - std::hypot(b.value - b.interval->low, a.interval->high - a.value),
      .high = out.value + std::hypot(b.interval->high - b.value, a.value - a.interval->low)};
  return out;
}

}  // namespace tandem
