// SPDX-License-Identifier: Apache-2.0
// Goal: what a histogram tells is what the sorted samples tell, within its bucket's width. Method:
// seeded samples of several shapes, each statistic against the plain computation.
#include "services/tools/load/result/latency_histogram.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using testing::HasSubstr;

std::vector<int64_t> LogNormalSamples(uint32_t seed, double median_us, size_t count) {
  std::mt19937 random(seed);
  std::lognormal_distribution<double> shape(std::log(median_us), 1.2);
  std::vector<int64_t> samples(count);
  for (int64_t& sample : samples) sample = static_cast<int64_t>(std::min(shape(random), 3.6e9));
  return samples;
}

LatencyHistogram HistogramOf(const std::vector<int64_t>& samples) {
  LatencyHistogram histogram;
  for (const int64_t us : samples) histogram.Record(absl::Microseconds(us));
  return histogram;
}

double Us(absl::Duration duration) {
  return absl::ToDoubleMicroseconds(duration);
}

TEST(LatencyHistogramTest, QuantilesAreThoseOfTheSortedSamplesToThreeDigits) {
  for (const double median : {30.0, 4e3, 2e6, 5e8}) {
    std::vector<int64_t> samples = LogNormalSamples(7, median, 20000);
    const LatencyHistogram histogram = HistogramOf(samples);
    std::sort(samples.begin(), samples.end());
    for (const double q : {0.001, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999}) {
      const auto rank = static_cast<size_t>(std::ceil(q * 20000 - 1e-6));
      const auto exact = static_cast<double>(samples[rank - 1]);
      EXPECT_NEAR(Us(histogram.Quantile(q)), exact, exact / 2000 + 0.5) << q << " of " << median;
    }
    EXPECT_EQ(Us(histogram.Min()), samples.front());
    EXPECT_EQ(Us(histogram.Max()), samples.back());
    EXPECT_EQ(histogram.Quantile(0), histogram.Min());
    EXPECT_EQ(histogram.Quantile(1), histogram.Max());
  }
}

TEST(LatencyHistogramTest, MeanSumAndDeviationDoNotKnowBuckets) {
  const std::vector<int64_t> samples = LogNormalSamples(3, 1e5, 10000);
  const LatencyHistogram histogram = HistogramOf(samples);
  double sum = 0;
  for (const int64_t us : samples) sum += static_cast<double>(us);
  const double mean = sum / 10000;
  double squares = 0;
  for (const int64_t us : samples) squares += (static_cast<double>(us) - mean) * (us - mean);
  EXPECT_EQ(histogram.count(), 10000);
  EXPECT_EQ(Us(histogram.Sum()), sum);
  EXPECT_NEAR(Us(histogram.Mean()), mean, 1e-3);
  EXPECT_NEAR(Us(histogram.StdDev()), std::sqrt(squares / 10000), 1e-3 * mean);
}

TEST(LatencyHistogramTest, PartsMergeToTheWhole) {
  const std::vector<int64_t> samples = LogNormalSamples(11, 5e4, 9000);
  LatencyHistogram merged;
  for (size_t part = 0; part < 3; ++part) {
    LatencyHistogram of_part;
    for (size_t i = part; i < samples.size(); i += 3) {
      of_part.Record(absl::Microseconds(samples[i]));
    }
    merged.Merge(of_part);
  }
  const auto whole = HistogramOf(samples).ToContents();
  const auto parts = merged.ToContents();
  EXPECT_EQ(parts.buckets, whole.buckets);
  EXPECT_EQ(parts.sum_us, whole.sum_us);
  EXPECT_EQ(parts.min_us, whole.min_us);
  EXPECT_EQ(parts.max_us, whole.max_us);
  EXPECT_NEAR(parts.squares_us2, whole.squares_us2, 1e-9 * whole.squares_us2);
  merged.Merge(LatencyHistogram());
  EXPECT_EQ(merged.count(), 9000);
}

TEST(LatencyHistogramTest, KTimesIsKRecords) {
  LatencyHistogram at_once;
  LatencyHistogram one_by_one;
  at_once.Record(absl::Milliseconds(7), 5);
  at_once.Record(absl::Milliseconds(9), 0);
  for (int i = 0; i < 5; ++i) one_by_one.Record(absl::Milliseconds(7));
  EXPECT_EQ(at_once, one_by_one);
}

TEST(LatencyHistogramTest, EdgesOfTheRangeAndTheEmptyOneAreHarmless) {
  LatencyHistogram histogram;
  EXPECT_TRUE(histogram.empty());
  EXPECT_EQ(histogram.Quantile(0.5), absl::ZeroDuration());
  EXPECT_EQ(histogram.Mean(), absl::ZeroDuration());
  EXPECT_EQ(histogram.StdDev(), absl::ZeroDuration());
  histogram.Record(-absl::Seconds(1));
  histogram.Record(absl::Nanoseconds(400));
  histogram.Record(absl::Hours(2));
  histogram.Record(absl::InfiniteDuration());
  EXPECT_EQ(histogram.Min(), absl::ZeroDuration());
  EXPECT_EQ(histogram.Max(), absl::Hours(1));
  EXPECT_EQ(histogram.Quantile(0.5), absl::ZeroDuration());
  EXPECT_GT(histogram.Quantile(0.75), absl::Minutes(59));
}

TEST(LatencyHistogramTest, EveryBucketsEdgeComesBackFromAFile) {
  LatencyHistogram histogram;
  for (int64_t us = 1; us < 3'600'000'000; us = us * 17 / 16 + 1) {
    histogram.Record(absl::Microseconds(us));
    histogram.Record(absl::Microseconds(us - 1));
  }
  const auto again = LatencyHistogram::FromContents(histogram.ToContents());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, histogram);
  EXPECT_EQ(again->Quantile(0.77), histogram.Quantile(0.77));
}

TEST(LatencyHistogramTest, CountUpToIsTheShareInsideALimit) {
  LatencyHistogram histogram;
  for (int ms = 1; ms <= 100; ++ms) histogram.Record(absl::Milliseconds(ms));
  EXPECT_EQ(histogram.CountUpTo(absl::Milliseconds(60)), 60);
  EXPECT_EQ(histogram.CountUpTo(absl::Microseconds(500)), 0);
  EXPECT_EQ(histogram.CountUpTo(absl::Hours(9)), 100);
  EXPECT_EQ(histogram.CountUpTo(-absl::Seconds(1)), 0);
}

TEST(LatencyHistogramTest, CoarseBucketsAreThreePercentWideAndFew) {
  LatencyHistogram histogram(LatencyHistogram::Precision::kCoarse);
  for (int us = 0; us < 1'000'000; us += 10) histogram.Record(absl::Microseconds(us));
  EXPECT_NEAR(Us(histogram.Quantile(0.9)), 9e5, 9e5 / 60);
  EXPECT_LT(histogram.ToContents().buckets.size(), 600);
}

TEST(LatencyHistogramTest, AFilesContradictionsAreNamed) {
  LatencyHistogram histogram;
  histogram.Record(absl::Milliseconds(5));
  histogram.Record(absl::Milliseconds(50));
  const auto good = histogram.ToContents();
  const auto message = [](const LatencyHistogram::Contents& contents) {
    return std::string(LatencyHistogram::FromContents(contents).status().message());
  };
  EXPECT_EQ(message(good), "");
  auto bad = good;
  bad.buckets[0].lowest_us += 1;
  EXPECT_THAT(message(bad), HasSubstr("buckets"));
  bad = good;
  bad.buckets[1].count = 0;
  EXPECT_THAT(message(bad), HasSubstr("buckets"));
  bad = good;
  bad.min_us = 1;
  EXPECT_THAT(message(bad), HasSubstr("min_us"));
  bad = good;
  bad.max_us = 4'000'000'000;
  EXPECT_THAT(message(bad), HasSubstr("max_us"));
  bad = good;
  bad.sum_us = -7;
  EXPECT_THAT(message(bad), HasSubstr("sum_us: -7"));
}

}  // namespace
}  // namespace tandem
