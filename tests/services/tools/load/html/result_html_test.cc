// SPDX-License-Identifier: Apache-2.0
// Goal: the page is well-formed, holds every number of the run as text, loads nothing, and shows
// names as they are. Method: pages of sample runs, read as XML; how they look is judged by eye.
#include "services/tools/load/html/result_html.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/tools/text/number_text.h"
#include "tests/services/tools/load/files/sample_result.h"
#include "tests/services/tools/load/html/xml.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

size_t Count(const XmlPage& page, const std::string& tag) {
  return static_cast<size_t>(std::count(page.tags.begin(), page.tags.end(), tag));
}

TEST(ResultHtmlTest, APageOfOneRunHoldsEveryNumber) {
  const LoadResult result = SampleResult({.error_share = 0.05});
  const XmlPage page = ReadXml(ToHtmlPage({result}));
  EXPECT_EQ(page.fault, "");
  for (const LatencyField& field : ClientLatencies()) {
    const LatencyHistogram& histogram = result.latencies.*field.histogram;
    EXPECT_THAT(page.text, HasSubstr(std::string(field.text)));
    for (const LatencyStat& stat : LatencyStats()) {
      EXPECT_THAT(page.text, HasSubstr(NumberText(stat.milliseconds(histogram)))) << field.name;
    }
  }
  const Throughput rates = ThroughputOf(result);
  for (const double rate : {rates.requests, rates.tokens, rates.prompt_tokens, rates.goodput}) {
    EXPECT_THAT(page.text, HasSubstr(NumberText(rate)));
  }
  EXPECT_THAT(page.text, HasSubstr("RESOURCE_EXHAUSTED, QUEUE_FULL"));
  EXPECT_THAT(page.text, HasSubstr("nasty: vanish"));
  EXPECT_THAT(page.text, HasSubstr("127.0.0.1:8440"));
  EXPECT_EQ(Count(page, "figure"), 10);  // three curves, stages, six timelines
  EXPECT_GE(Count(page, "table"), 6);
  EXPECT_EQ(Count(page, "table"), Count(page, "caption"));
}

TEST(ResultHtmlTest, ItLoadsNothing) {
  const std::string text = ToHtmlPage({SampleResult({.rate = 10}), SampleResult({.rate = 20})});
  EXPECT_THAT(ReadXml(text).links, IsEmpty());
  for (const char* word : {"http:", "https:", "//cdn", "@import", "url(", "fetch(", "import("}) {
    EXPECT_FALSE(absl::StrContains(text, word)) << word;
  }
}

TEST(ResultHtmlTest, SeveralRunsAreSetSideBySide) {
  const XmlPage page = ReadXml(ToHtmlPage({SampleResult({.rate = 10, .seconds = 10}),
                                           SampleResult({.rate = 20, .seconds = 10}),
                                           SampleResult({.rate = 30, .seconds = 10})}));
  EXPECT_EQ(page.fault, "");
  EXPECT_EQ(Count(page, "details"), 3);
  EXPECT_EQ(Count(page, "figure"), 4 + 3 * 10);
  EXPECT_THAT(page.text, HasSubstr("Load test: 3 runs"));
  EXPECT_THAT(page.text, HasSubstr("TTFT from schedule against throughput"));
  EXPECT_THAT(page.text, HasSubstr("requests offered per second"));
}

TEST(ResultHtmlTest, NamesAreShownAndNotObeyed) {
  LoadResult result = SampleResult({.seconds = 3});
  result.label = "<script>alert(1)</script> & \"co\"";
  result.options["prompt"] = "a'b\x01<i>";
  result.problems = {"<b>leases</b>"};
  const std::string text = ToHtmlPage({result});
  const XmlPage page = ReadXml(text);
  EXPECT_EQ(page.fault, "");
  EXPECT_THAT(text, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page.text, HasSubstr(result.label));
  EXPECT_THAT(page.text, HasSubstr("<b>leases</b>"));
  EXPECT_EQ(Count(page, "script"), 1);
}

TEST(ResultHtmlTest, ARunInWhichNothingCompletedHasAPage) {
  const XmlPage page = ReadXml(ToHtmlPage({LoadResult()}));
  EXPECT_EQ(page.fault, "");
  EXPECT_THAT(page.text, HasSubstr("nothing to show"));
  EXPECT_THAT(std::string(WriteHtmlFile("/nowhere/a.html", {LoadResult()}).message()),
              HasSubstr("/nowhere/a.html: cannot be written"));
}

}  // namespace
}  // namespace tandem
