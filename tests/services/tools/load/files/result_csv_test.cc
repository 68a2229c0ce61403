// SPDX-License-Identifier: Apache-2.0
// Goal: a row has a cell a column, columns keep their place, and rows of several runs gather in one
// file under one header. Method: rows are parsed by the rules of RFC 4180; the header's beginning
// is written out here.
#include "services/tools/load/files/result_csv.h"

#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/tools/read_file.h"
#include "tests/services/tools/load/files/sample_result.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::vector<std::string> Cells(const std::string& line) {
  std::vector<std::string> cells(1);
  bool quoted = false;
  for (size_t i = 0; i + 1 < line.size(); ++i) {
    if (line[i] == '"' && quoted && line[i + 1] == '"') {
      cells.back() += line[++i];
    } else if (line[i] == '"') {
      quoted = !quoted;
    } else if (line[i] == ',' && !quoted) {
      cells.emplace_back();
    } else {
      cells.back() += line[i];
    }
  }
  return cells;
}

std::string CellOf(const LoadResult& result, const std::string& column) {
  const std::vector<std::string> names = Cells(CsvHeader());
  const std::vector<std::string> cells = Cells(CsvRow(result));
  EXPECT_EQ(cells.size(), names.size());
  const auto at = std::find(names.begin(), names.end(), column);
  EXPECT_NE(at, names.end()) << column;
  return cells[static_cast<size_t>(at - names.begin())];
}

std::string FreshPath(const std::string& name) {
  const std::string path = absl::StrCat(testing::TempDir(), "/", name, getpid(), ".csv");
  unlink(path.c_str());
  return path;
}

std::string ErrorOf(const std::string& path) {
  return std::string(AppendCsv(path, {LoadResult()}).message());
}

TEST(ResultCsvTest, TheHeaderKeepsItsOrder) {
  EXPECT_THAT(
      CsvHeader(),
      StartsWith("label,model,started,rate_offered,concurrency,duration_s,completed,failed,"
                 "prompt_tokens,tokens,tokens_per_second_max,concurrency_max,checks,checks_failed,"
                 "requests_per_s,prompt_tokens_per_s,tokens_per_s,total_tokens_per_s,"
                 "goodput_per_s,good_share,error_share,client_cpu_cores,errors,"
                 "send_lag_mean_ms,send_lag_stddev_ms,send_lag_min_ms,send_lag_p50_ms,"
                 "send_lag_p90_ms,send_lag_p95_ms,send_lag_p99_ms,send_lag_p99.9_ms,"
                 "send_lag_max_ms,accept_mean_ms,"));
  EXPECT_THAT(CsvHeader(), HasSubstr(",tpot_p99_ms,"));
  EXPECT_THAT(CsvHeader(), HasSubstr(",decode_max_ms\n"));
}

TEST(ResultCsvTest, CellsHoldTheNumbersAndTextsAreQuoted) {
  LoadResult result = SampleResult({.seconds = 5, .error_share = 0.2});
  result.label = "a \"fast\" one, with commas";
  EXPECT_EQ(CellOf(result, "label"), result.label);
  EXPECT_EQ(CellOf(result, "completed"), absl::StrCat(result.counts.completed));
  EXPECT_EQ(CellOf(result, "concurrency"), "");
  EXPECT_EQ(CellOf(result, "errors"),
            absl::StrCat("RESOURCE_EXHAUSTED/QUEUE_FULL=", result.counts.failed));
  EXPECT_EQ(CellOf(result, "ttft_max_ms"),
            absl::StrCat(absl::ToDoubleMilliseconds(result.latencies.ttft.Max())));
}

TEST(ResultCsvTest, RowsGatherUnderOneHeader) {
  const std::string path = FreshPath("gather");
  const LoadResult result = SampleResult({.seconds = 2});
  ASSERT_TRUE(AppendCsv(path, {result}).ok());
  ASSERT_TRUE(AppendCsv(path, {result, result}).ok());
  EXPECT_EQ(ReadFile(path).value_or(""),
            CsvHeader() + CsvRow(result) + CsvRow(result) + CsvRow(result));
}

TEST(ResultCsvTest, AFileOfOtherColumnsIsLeftAlone) {
  const std::string path = FreshPath("other");
  std::ofstream(path) << "time,value\n";
  EXPECT_THAT(ErrorOf(path), StartsWith(path));
  EXPECT_EQ(ReadFile(path).value_or(""), "time,value\n");
  EXPECT_THAT(ErrorOf("/nowhere/a.csv"), HasSubstr("written"));
}

}  // namespace
}  // namespace tandem
