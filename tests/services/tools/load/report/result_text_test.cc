// SPDX-License-Identifier: Apache-2.0
// Goal: the tables hold the run's numbers, and what a run has no use for is left out. Method:
// sample runs.
#include "services/tools/load/report/result_text.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/tools/text/number_text.h"
#include "tests/services/tools/load/files/sample_result.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

TEST(ResultTextTest, HoldsTheRunsNumbers) {
  LoadResult result = SampleResult({.error_share = 0.1});
  result.problems = {"w:9402: tandem_leases is 1, not 0"};
  const std::string text = ResultText(result);
  EXPECT_THAT(text, HasSubstr("rate 20 on tiny-v4: 3"));
  EXPECT_THAT(text, HasSubstr(absl::StrCat(CountText(result.counts.completed), " completed, ",
                                           result.counts.failed, " failed")));
  EXPECT_THAT(text, HasSubstr("inside ttft 400 ms, tpot 40.0 ms"));
  EXPECT_THAT(text,
              HasSubstr(absl::StrCat("RESOURCE_EXHAUSTED QUEUE_FULL: ", result.counts.failed)));
  EXPECT_THAT(text, HasSubstr("nasty     vanish 1"));
  EXPECT_THAT(text, HasSubstr("FAILED  w:9402: tandem_leases is 1, not 0"));
  EXPECT_THAT(text, HasSubstr(MsText(result.latencies.tpot.Quantile(0.99))));
  EXPECT_THAT(text, HasSubstr("prefill queue"));
}

TEST(ResultTextTest, AnEmptyRunHasATextToo) {
  EXPECT_THAT(ResultText(LoadResult()), HasSubstr("0 completed, 0 failed"));
  EXPECT_THAT(ResultText(LoadResult()), Not(HasSubstr("TTFT")));
}

TEST(ResultTextTest, WithoutAScheduleNothingIsToldFromIt) {
  LoadResult result = SampleResult({});
  EXPECT_THAT(ResultText(result), HasSubstr("TTFT from schedule"));
  result.rate_offered = std::nullopt;
  result.concurrency = 8;
  EXPECT_THAT(ResultText(result), HasSubstr("TTFT "));
  EXPECT_THAT(ResultText(result), Not(HasSubstr("from schedule")));
}

TEST(ResultTextTest, WithoutLimitsASweepHasNoShareOfGoodRequests) {
  LoadResult result = SampleResult({.rate = 10});
  EXPECT_THAT(SweepText({&result, 1}), Not(HasSubstr(" - ")));
  result.slo = {};
  EXPECT_THAT(SweepText({&result, 1}), HasSubstr(" - "));
}

TEST(ResultTextTest, ASweepHasALineARun) {
  const std::string text = SweepText({SampleResult({.rate = 10}), SampleResult({.rate = 40})});
  EXPECT_THAT(text, HasSubstr("\nrate 10.0 "));
  EXPECT_THAT(text, HasSubstr("\nrate 40.0 "));
}

TEST(ResultTextTest, AClientThatWasTheLimitIsNamed) {
  LoadResult result = SampleResult({});
  EXPECT_THAT(ClientWarnings(result), IsEmpty());
  result.environment["cores"] = "2";
  result.client.cpu_cores = 1.9;
  for (int i = 0; i < 900; ++i) result.client.send_lag.Record(absl::Milliseconds(80));
  EXPECT_THAT(ClientWarnings(result), SizeIs(2));
  EXPECT_THAT(ResultText(result), HasSubstr("WARNING the client used 1.90 of 2 cores"));
}

}  // namespace
}  // namespace tandem
