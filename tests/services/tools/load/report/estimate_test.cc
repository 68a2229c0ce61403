// SPDX-License-Identifier: Apache-2.0
// Goal: a 99.9 % interval holds the truth about 999 times in 1000, and is no wider than it must be.
// Method: many samples of known distributions, seeded; how often the interval holds the true value.
#include "services/tools/load/report/estimate.h"

#include <cmath>
#include <random>

#include "gtest/gtest.h"

namespace tandem {
namespace {

constexpr int kTrials = 400;

LatencyHistogram Exponential(std::mt19937& random, int samples) {
  std::exponential_distribution<double> shape(1.0 / 50);  // mean 50 ms
  LatencyHistogram histogram;
  for (int i = 0; i < samples; ++i) histogram.Record(absl::Milliseconds(shape(random)));
  return histogram;
}

bool Holds(const Estimate& estimate, double truth) {
  return estimate.interval && estimate.interval->low <= truth && truth <= estimate.interval->high;
}

TEST(EstimateTest, IntervalsHoldTheTruth) {
  std::mt19937 random(5);
  int mean = 0;
  int median = 0;
  int p99 = 0;
  double width = 0;
  for (int i = 0; i < kTrials; ++i) {
    const LatencyHistogram histogram = Exponential(random, 2000);
    mean += Holds(MeanOf(histogram, 2000), 50);
    const Estimate half = QuantileOf(histogram, 0.5, 2000);
    median += Holds(half, 50 * std::log(2));
    width += half.interval->high - half.interval->low;
    p99 += Holds(QuantileOf(histogram, 0.99, 2000), 50 * std::log(100));
  }
  // 99.9 % of 400, with room for chance.
  EXPECT_GE(mean, kTrials - 4);
  EXPECT_GE(median, kTrials - 4);
  EXPECT_GE(p99, kTrials - 6);
  // The density at the median is 1/100 a ms: 2 * 3.291 * 0.5 / sqrt(2000) * 100 = 7.4 ms.
  EXPECT_NEAR(width / kTrials, 7.4, 0.7);
}

TEST(EstimateTest, ADifferenceOfEqualsHoldsZero) {
  std::mt19937 random(6);
  int holds = 0;
  int sees = 0;
  for (int i = 0; i < kTrials; ++i) {
    const Estimate a = QuantileOf(Exponential(random, 1000), 0.9, 1000);
    const Estimate b = QuantileOf(Exponential(random, 1000), 0.9, 1000);
    holds += Holds(DifferenceOf(a, b), 0);
    const Estimate slower = {.value = b.value * 1.5,
                             .interval = Interval{b.interval->low * 1.5, b.interval->high * 1.5}};
    sees += DifferenceOf(a, slower).interval->low > 0;
  }
  EXPECT_GE(holds, kTrials - 4);
  EXPECT_GE(sees, kTrials - 12);
}

TEST(EstimateTest, FewSamplesGiveNoInterval) {
  LatencyHistogram histogram;
  for (int ms = 1; ms <= 400; ++ms) histogram.Record(absl::Milliseconds(ms));
  EXPECT_TRUE(QuantileOf(histogram, 0.5, 400).interval);
  // Four samples lie beyond the 99th percentile.
  EXPECT_FALSE(QuantileOf(histogram, 0.99, 400).interval);
  // The values of four requests are four samples, however many tokens they had.
  EXPECT_FALSE(MeanOf(histogram, 4).interval);
  EXPECT_FALSE(ShareOf(0, 0).interval);
  EXPECT_FALSE(DifferenceOf(ShareOf(0, 0), ShareOf(1, 9)).interval);
}

TEST(EstimateTest, WilsonsIntervalOfSharesIsTheBooks) {
  // 0 of 20 at z = 3.291: the upper end is z²/(n + z²).
  const Estimate none = ShareOf(0, 20);
  EXPECT_EQ(none.value, 0);
  EXPECT_NEAR(none.interval->low, 0, 1e-12);
  EXPECT_NEAR(none.interval->high, 10.831 / 30.831, 1e-4);
  EXPECT_NEAR(ShareOf(20, 20).interval->low, 20 / 30.831, 1e-4);
}

TEST(EstimateTest, ASteadyRateIsKnownBetterThanAJumpyOne) {
  LoadResult steady;
  steady.timeline_step = absl::Seconds(1);
  steady.duration = absl::Seconds(100);
  steady.counts.completed = 1000;
  for (int i = 0; i < 100; ++i)
    steady.timeline.push_back({.start = absl::Seconds(i), .tokens = 50});
  LoadResult jumpy = steady;
  for (int i = 0; i < 100; ++i) jumpy.timeline[static_cast<size_t>(i)].tokens = i / 10 % 2 * 100;
  const Estimate known = RateOf(steady, 50, &TimelinePoint::tokens);
  const Estimate vague = RateOf(jumpy, 50, &TimelinePoint::tokens);
  ASSERT_TRUE(known.interval && vague.interval);
  EXPECT_NEAR(known.interval->low, 50, 1e-9);
  // Ten batches of 0 or 1000: deviation 527 of 500, over sqrt(10), times 4.781.
  EXPECT_NEAR(vague.interval->high, 50 * (1 + 4.781 * 527.05 / std::sqrt(10) / 500), 0.1);
  // Too short for batches: as well as a Poisson process of 1000 requests is.
  steady.timeline.resize(5);
  const Estimate brief = RateOf(steady, 50, &TimelinePoint::tokens);
  EXPECT_NEAR(brief.interval->high, 50 * (1 + 3.291 / std::sqrt(1000)), 1e-6);
}

}  // namespace
}  // namespace tandem
