// SPDX-License-Identifier: Apache-2.0
// Goal: a result survives its file whole, scripts made for vLLM's files find their names, and a
// file that somebody damaged gives one error that names the field. Method: a result full of values;
// each field of its JSON removed or replaced in turn.
#include "services/tools/load/files/result_json.h"

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/services/tools/load/files/sample_result.h"

namespace tandem {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

LoadResult Full() {
  LoadResult result = SampleResult({.seed = 4, .seconds = 5, .error_share = 0.1});
  result.concurrency = 12;
  result.problems = {"http://w:9402/metrics: tandem_leases is 1, not 0"};
  result.failed_checks = {{.name = "golden", .count = 2}};
  return result;
}

json JsonOf(const LoadResult& result) {
  return json::parse(ToJson({&result, 1}));
}

std::string ErrorOf(const std::string& text) {
  return std::string(FromJson(text).status().message());
}

std::string ErrorOf(const json& file) {
  return ErrorOf(file.dump());
}

TEST(ResultJsonTest, WhatIsReadBackIsWhatWasWritten) {
  const LoadResult result = Full();
  const auto again = FromJson(ToJson({&result, 1}));
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_EQ(again->size(), 1);
  EXPECT_EQ(again->front(), result);
  LoadResult empty;
  empty.timeline_step = absl::Seconds(1);
  const auto empty_again = FromJson(ToJson({&empty, 1}));
  ASSERT_TRUE(empty_again.ok()) << empty_again.status();
  EXPECT_EQ(empty_again->front(), empty);
}

TEST(ResultJsonTest, ASweepIsOneFile) {
  const std::vector<LoadResult> runs = {Full(), SampleResult({.rate = 40, .seconds = 3})};
  const auto again = FromJson(ToJson(runs));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, runs);
}

TEST(ResultJsonTest, VllmsNamesAreThereWithOurNumbers) {
  const LoadResult result = Full();
  const json file = JsonOf(result);
  for (const char* name : {"date",
                           "endpoint_type",
                           "backend",
                           "label",
                           "model_id",
                           "tokenizer_id",
                           "request_rate",
                           "burstiness",
                           "max_concurrency",
                           "num_prompts",
                           "duration",
                           "completed",
                           "failed",
                           "total_input_tokens",
                           "total_output_tokens",
                           "request_throughput",
                           "request_goodput",
                           "output_throughput",
                           "total_token_throughput",
                           "max_output_tokens_per_s",
                           "max_concurrent_requests",
                           "mean_ttft_ms",
                           "median_tpot_ms",
                           "std_itl_ms",
                           "p50_ttft_ms",
                           "p90_e2el_ms",
                           "p95_itl_ms",
                           "p99_tpot_ms",
                           "p99.9_e2el_ms"}) {
    EXPECT_TRUE(file.contains(name)) << name;
  }
  EXPECT_EQ(file["completed"], result.counts.completed);
  EXPECT_EQ(file["completed"], file["counts"]["completed"]);
  EXPECT_EQ(file["p99_ttft_ms"], file["latencies_ms"]["ttft"]["p99"]);
  EXPECT_EQ(file["median_itl_ms"], file["latencies_ms"]["chunk_gap"]["p50"]);
  EXPECT_EQ(file["output_throughput"], file["throughput"]["tokens_per_s"]);
}

TEST(ResultJsonTest, EveryFieldThatIsReadIsMissedByName) {
  const json good = JsonOf(Full());
  for (const char* pointer :
       {"/schema", "/label", "/started", "/options", "/problems", "/duration_s", "/counts/good",
        "/counts/kinds/vanish/checks", "/throughput/concurrency_max", "/slo_ms", "/errors/0/code",
        "/finish_reasons/0/count", "/client/cpu_cores", "/timeline/step_s", "/timeline/tokens",
        "/timeline/ttft_p99_ms", "/histograms/e2e/sum_us", "/histograms/send_lag"}) {
    json bad = good;
    const json::json_pointer place(pointer);
    bad[place] = nullptr;
    std::string name = std::string(pointer).substr(1);
    for (size_t at = name.find('/'); at != std::string::npos; at = name.find('/')) {
      const bool index = at + 1 < name.size() && name[at + 1] == '0';
      name.replace(at, index ? 2 : 1, index ? "[0]" : ".");
    }
    EXPECT_THAT(ErrorOf(bad), StartsWith(name)) << pointer;
  }
}

TEST(ResultJsonTest, WrongValuesAreNamedWithTheirValue) {
  const json good = JsonOf(Full());
  const auto with = [&good](const char* pointer, const json& value) {
    json bad = good;
    bad[json::json_pointer(pointer)] = value;
    return ErrorOf(bad);
  };
  EXPECT_EQ(with("/schema", "tandem.load/9"), "schema: \"tandem.load/9\" is not \"tandem.load/1\"");
  EXPECT_EQ(with("/counts/failed", -3), "counts.failed: -3 is not a whole number from 0");
  EXPECT_THAT(with("/duration_s", -1), StartsWith("duration_s: -1 is not"));
  EXPECT_THAT(with("/started", "yesterday"), StartsWith("started: \"yesterday\""));
  EXPECT_THAT(with("/timeline/sent", json::array({1})), HasSubstr("has 1"));
  EXPECT_THAT(with("/timeline/gap_p50_ms/0", "x"), StartsWith("timeline.gap_p50_ms[0]: \"x\""));
  EXPECT_THAT(with("/histograms/ttft/buckets", json::array({5})),
              StartsWith("histograms.ttft.buckets: needs pairs"));
  EXPECT_THAT(with("/histograms/ttft/min_us", 1), StartsWith("histograms.ttft: min_us: 1"));
  EXPECT_THAT(with("/runs", json::array()), StartsWith("runs: holds no run"));
  EXPECT_THAT(with("/runs", json::array({4})), StartsWith("runs[0]: 4 is not an object"));
}

TEST(ResultJsonTest, FilesThatAreNoResultSaySo) {
  EXPECT_THAT(ErrorOf(std::string()), HasSubstr("is no JSON"));
  EXPECT_THAT(ErrorOf(std::string("[]")), HasSubstr("the file: [] is not an object"));
  const std::string nowhere = "/nowhere/a.json";
  EXPECT_THAT(std::string(ReadResultFile(nowhere).status().message()),
              HasSubstr(nowhere + ": No such file"));
  EXPECT_THAT(std::string(WriteResultFile(nowhere, {LoadResult()}).message()),
              HasSubstr(nowhere + ": cannot be written"));
  const std::string path = testing::TempDir() + "/bad_result.json";
  std::ofstream(path) << "{\"schema\": 7}";
  EXPECT_EQ(ReadResultFile(path).status().message(), path + ": schema: 7 is not a text");
}

}  // namespace
}  // namespace tandem
