// SPDX-License-Identifier: Apache-2.0
// Goal: lines stand where their values are, gaps stay gaps, and nothing that a name holds breaks
// the page. Method: small charts, read as XML and by their path data.
#include "services/tools/load/html/svg_chart.h"

#include <algorithm>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/json.h"
#include "tests/services/tools/load/html/xml.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using testing::Not;

size_t Count(const XmlPage& page, const std::string& tag) {
  return static_cast<size_t>(std::count(page.tags.begin(), page.tags.end(), tag));
}

LineChart Small() {
  return {.title = "T <1> & \"2\"",
          .x_label = "x",
          .y_label = "ms",
          .xs = {0, 1, 2, 3},
          .x_names = {"a", "b", "c", "d"},
          .series = {{.name = "s & t", .values = {0.0, 50.0, std::nullopt, 100.0}}}};
}

TEST(SvgChartTest, ALineRunsThroughItsValuesAndStopsAtGaps) {
  const std::string svg = ToSvg(Small());
  const XmlPage page = ReadXml(svg);
  EXPECT_EQ(page.fault, "");
  // The plot spans x 52 … 548 and y 206 (zero) … 28 (100).
  EXPECT_THAT(svg, HasSubstr("d=\"M52.0 206.0L217.3 117.0M548.0 28.0\""));
  EXPECT_EQ(Count(page, "circle"), 1);  // the point that stands alone
  EXPECT_THAT(page.text, HasSubstr("T <1> & \"2\""));
  EXPECT_THAT(page.text, HasSubstr("s & t"));
}

TEST(SvgChartTest, WhatThePointerReadsIsAListWhateverNamesHold) {
  LineChart chart = Small();
  chart.x_names[1] = "a \"b\" \\ \t c";
  const std::string svg = ToSvg(chart);
  const std::string opening = "data-text=\"";
  const size_t begin = svg.find(opening) + opening.size();
  const std::string list = absl::StrReplaceAll(svg.substr(begin, svg.find('"', begin) - begin),
                                               {{"&quot;", "\""}, {"&amp;", "&"}});
  const auto json = ParseFileJson(list);
  ASSERT_EQ(json.size(), 4) << list;
  EXPECT_EQ(json[1], "a \"b\" \\   c\ns & t  50.0");
}

TEST(SvgChartTest, ALogarithmicChartLeavesOutZeros) {
  LineChart chart = Small();
  chart.logarithmic = true;
  const std::string svg = ToSvg(chart);
  EXPECT_EQ(ReadXml(svg).fault, "");
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("M52.0")));
}

TEST(SvgChartTest, NothingToShowIsSaid) {
  LineChart chart = Small();
  chart.series[0].values = {std::nullopt, std::nullopt, std::nullopt, std::nullopt};
  EXPECT_THAT(ToSvg(chart), HasSubstr("nothing to show"));
  chart.series.clear();
  EXPECT_THAT(ToSvg(chart), HasSubstr("nothing to show"));
  EXPECT_THAT(ToSvg(LineChart()), HasSubstr("nothing to show"));
}

TEST(SvgChartTest, BarsArePartedByTheirShares) {
  const BarChart chart = {
      .title = "stages",
      .unit = "ms",
      .bars = {{.name = "whole",
                .parts = {{.name = "prefill", .value = 30}, {.name = "decode", .value = 90}}},
               {.name = "none", .parts = {{.name = "prefill", .value = 0}}}}};
  const std::string svg = ToSvg(chart);
  const XmlPage page = ReadXml(svg);
  EXPECT_EQ(page.fault, "");
  EXPECT_EQ(Count(page, "rect"), 2);
  EXPECT_THAT(svg, HasSubstr("x=\"140.0\" y=\"18.0\" width=\"420.0\""));
  EXPECT_THAT(page.text, HasSubstr("25.0 %"));
  EXPECT_THAT(page.text, HasSubstr("120 ms"));
}

}  // namespace
}  // namespace tandem
