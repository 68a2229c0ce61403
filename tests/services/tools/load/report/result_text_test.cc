// SPDX-License-Identifier: Apache-2.0
// Goal: the tables hold the run's numbers, in digits that say something. Method: a sample run; the
// texts of edge numbers written out.
#include "services/tools/load/report/result_text.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/tools/load/report/number_text.h"
#include "tests/services/tools/load/files/sample_result.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

TEST(NumberTextTest, DigitsThatSaySomething) {
  EXPECT_EQ(CountText(0), "0");
  EXPECT_EQ(CountText(999), "999");
  EXPECT_EQ(CountText(1234567), "1,234,567");
  EXPECT_EQ(NumberText(0), "0");
  EXPECT_EQ(NumberText(0.0421), "0.042");
  EXPECT_EQ(NumberText(0.9999), "1.00");
  EXPECT_EQ(NumberText(7.314), "7.31");
  EXPECT_EQ(NumberText(9.999), "10.0");
  EXPECT_EQ(NumberText(48.24), "48.2");
  EXPECT_EQ(NumberText(99.97), "100");
  EXPECT_EQ(NumberText(1234.5), "1,235");
  EXPECT_EQ(NumberText(-7.314), "-7.31");
  EXPECT_EQ(MsText(absl::Microseconds(1500)), "1.50");
  EXPECT_EQ(DurationText(absl::Milliseconds(850)), "850 ms");
  EXPECT_EQ(DurationText(absl::Milliseconds(12340)), "12.3 s");
  EXPECT_EQ(DurationText(absl::Seconds(200)), "3 min 20 s");
  EXPECT_EQ(DurationText(absl::Minutes(125)), "2 h 5 min");
  EXPECT_EQ(PercentText(0.9712), "97.1 %");
  EXPECT_EQ(PercentText(0.99999), "99.99 %");
  EXPECT_EQ(PercentText(0.00001), "0.01 %");
  EXPECT_EQ(PercentText(1), "100.0 %");
  EXPECT_EQ(BytesText(48 << 20), "48.0 MiB");
  EXPECT_EQ(BytesText(uint64_t{3} << 30), "3.00 GiB");
}

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
