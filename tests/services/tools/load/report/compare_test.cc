// SPDX-License-Identifier: Apache-2.0
// Goal: a verdict that CI can act on: equal files and repeated runs are not worse, a slower server
// is, and few samples accuse nobody. Method: samples of servers of known speed, from seeds.
#include "services/tools/load/report/compare.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/tools/load/files/sample_result.h"

namespace tandem {
namespace {

using testing::Contains;
using testing::HasSubstr;

const MetricChange& Find(const Comparison& comparison, const std::string& name) {
  const auto it = std::find_if(comparison.changes.begin(), comparison.changes.end(),
                               [&name](const MetricChange& c) { return c.name == name; });
  EXPECT_NE(it, comparison.changes.end()) << name;
  return *it;
}

TEST(CompareTest, AFileComparedWithItselfIsTheSameInEverything) {
  const LoadResult run = SampleResult({});
  const Comparison comparison = Compare(run, run, 0);
  for (const MetricChange& change : comparison.changes) {
    EXPECT_EQ(change.verdict, Verdict::kSame) << change.name;
    EXPECT_EQ(change.change, 0) << change.name;
  }
  EXPECT_TRUE(comparison.notes.empty());
  EXPECT_FALSE(AnyWorse({comparison}));
}

TEST(CompareTest, TheSameServerAgainIsNotWorse) {
  for (uint32_t seed = 10; seed < 20; ++seed) {
    const Comparison comparison =
        Compare(SampleResult({.seed = seed}), SampleResult({.seed = seed + 100}), 0.05);
    EXPECT_FALSE(AnyWorse({comparison})) << ComparisonText(comparison);
  }
}

TEST(CompareTest, ASlowerServerIsWorseAndAFasterOneBetter) {
  const LoadResult usual = SampleResult({.seed = 1});
  const LoadResult slow = SampleResult({.seed = 2, .slowness = 1.3});
  const Comparison worse = Compare(usual, slow, 0.05);
  EXPECT_TRUE(AnyWorse({worse}));
  for (const char* name : {"TTFT p50", "TPOT mean", "TPOT p99", "token gap p50", "e2e mean"}) {
    EXPECT_EQ(Find(worse, name).verdict, Verdict::kWorse) << name;
    EXPECT_NEAR(Find(worse, name).change, 0.3, 0.1) << name;
    EXPECT_GT(*Find(worse, name).low, 0) << name;
  }
  const Comparison better = Compare(slow, usual, 0.05);
  EXPECT_FALSE(AnyWorse({better}));
  EXPECT_EQ(Find(better, "TPOT mean").verdict, Verdict::kBetter);
  // It is 30 % slower, and 50 % are allowed.
  EXPECT_EQ(Find(Compare(usual, slow, 0.5), "TPOT mean").verdict, Verdict::kSame);
}

TEST(CompareTest, LessThroughputIsWorse) {
  const Comparison comparison =
      Compare(SampleResult({.rate = 20}), SampleResult({.rate = 12}), 0.05);
  EXPECT_EQ(Find(comparison, "output tokens").verdict, Verdict::kWorse);
  EXPECT_EQ(Find(comparison, "requests").verdict, Verdict::kWorse);
  EXPECT_THAT(comparison.notes, Contains("differs: rate: 20 → 12"));
}

TEST(CompareTest, WhereAResultWasWrittenIsNoDifference) {
  LoadResult a = SampleResult({});
  LoadResult b = a;
  a.options["json"] = "a.json";
  b.options["json"] = "b.json";
  b.options["quiet"] = "";
  b.options["turns"] = "3";
  const Comparison comparison = Compare(a, b, 0.05);
  ASSERT_EQ(comparison.notes.size(), 1);
  EXPECT_EQ(comparison.notes.front(), "differs: turns: – → 3");
}

TEST(CompareTest, ErrorsHaveNoThreshold) {
  const LoadResult clean = SampleResult({.seconds = 100});
  const LoadResult dirty = SampleResult({.seconds = 100, .error_share = 0.02});
  const Comparison comparison = Compare(clean, dirty, 0.5);
  EXPECT_EQ(Find(comparison, "errors").verdict, Verdict::kWorse);
  EXPECT_TRUE(AnyWorse({comparison}));
  EXPECT_EQ(Find(Compare(dirty, clean, 0.5), "errors").verdict, Verdict::kBetter);
}

TEST(CompareTest, FewSamplesAreNoise) {
  const Comparison comparison = Compare(SampleResult({.rate = 4, .seconds = 2}),
                                        SampleResult({.rate = 4, .seconds = 2, .slowness = 3}), 0);
  EXPECT_EQ(Find(comparison, "TTFT p99").verdict, Verdict::kNoise);
  EXPECT_FALSE(Find(comparison, "TTFT p99").low.has_value());
}

TEST(CompareTest, FromNothingToSomethingHasNoPercentage) {
  LoadResult before = SampleResult({});
  before.latencies.tpot = LatencyHistogram();
  const Comparison comparison = Compare(before, SampleResult({}), 0.05);
  EXPECT_THAT(ComparisonText(comparison), HasSubstr("new"));
  EXPECT_FALSE(AnyWorse({comparison}));
}

TEST(CompareTest, SweepsAreComparedRunByRun) {
  const std::vector<LoadResult> a = {SampleResult({.rate = 10}), SampleResult({.rate = 20})};
  std::vector<LoadResult> b = a;
  b[1] = SampleResult({.rate = 20, .slowness = 2});
  const auto comparisons = CompareRuns(a, b, 0.05);
  ASSERT_TRUE(comparisons.ok());
  ASSERT_EQ(comparisons->size(), 2);
  EXPECT_FALSE(AnyWorse({comparisons->front()}));
  EXPECT_TRUE(AnyWorse(*comparisons));
  b.pop_back();
  EXPECT_THAT(std::string(CompareRuns(a, b, 0.05).status().message()),
              HasSubstr("A holds 2 runs and B 1"));
}

TEST(CompareTest, TheTextHasARowAMetric) {
  const std::string text = ComparisonText(
      Compare(SampleResult({.seed = 1}), SampleResult({.seed = 2, .slowness = 1.3}), 0.05));
  EXPECT_THAT(text, HasSubstr("TPOT mean ms"));
  EXPECT_THAT(text, HasSubstr("WORSE"));
  EXPECT_THAT(text, HasSubstr("inside the SLO"));
  EXPECT_THAT(text, HasSubstr("99.9 % interval"));
}

}  // namespace
}  // namespace tandem
