// SPDX-License-Identifier: Apache-2.0
// Goal: `tandem load` against the three programs: every token of every answer is right, nothing is
// left behind, nasty clients included, and its TTFT and TPOT are those that the router counts.
// Method: the simulated engine with known step times; sums and counts of the router's histograms
// before and after a run; goldens on the real engine, right ones and a spoilt one.
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/tools/load/check/scrape.h"
#include "services/tools/load/files/result_json.h"
#include "services/tools/verbs.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

class LoadTest : public testing::Test {
 protected:
  LoadTest()
      : cluster_({.decode_extra = "slots: 64",
                  .worker_extra = "engine: ENGINE_SIM sim { prefill_step { nanos: 100000000 } "
                                  "decode_step { nanos: 30000000 } }"}),
        json_(cluster_.folder() + "/result.json") {}

  void SetUp() override { ASSERT_TRUE(cluster_.WaitReady(absl::Seconds(60)).ok()); }

  // The exit code of `tandem load run`; its result stays in result_.
  int Run(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"run",
                                          "--target",
                                          cluster_.endpoint("router"),
                                          "--quiet",
                                          "--json",
                                          json_,
                                          "--check",
                                          "sim",
                                          "--timeout",
                                          "60s",
                                          "--prompt-tokens",
                                          "20..120"};
    for (const std::string& name : cluster_.names()) {
      arguments.push_back("--check-idle");
      arguments.push_back(cluster_.metrics_endpoint(name));
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::filesystem::remove(json_);
    const int code = RunLoad(arguments);
    auto runs = ReadResultFile(json_);
    EXPECT_TRUE(runs.ok()) << runs.status();
    if (runs.ok()) result_ = std::move(runs->front());
    return code;
  }

  // Sum and count of a histogram of the router.
  struct Total {
    double sum = 0;
    double count = 0;
  };
  Total RouterTotal(const std::string& name) const {
    const auto url = ParseMetricsUrl(cluster_.metrics_endpoint("router"));
    const auto text = HttpGet(*url, absl::Seconds(10));
    EXPECT_TRUE(text.ok()) << text.status();
    Total total;
    for (const ScrapedSample& sample : ParseSamples(text.ok() ? *text : "")) {
      if (sample.name == name + "_sum") total.sum += sample.value;
      if (sample.name == name + "_count") total.count += sample.value;
    }
    return total;
  }

  Cluster cluster_;
  const std::string json_;
  LoadResult result_;
};

double MeanBetween(double sum, double count) {
  return count > 0 ? sum / count : 0;
}

TEST_F(LoadTest, FiftyStreamsAreRightAndTheRouterCountsTheSameTimes) {
  // The programs' own connections, too, are then there.
  ASSERT_EQ(Run({"--concurrency", "8", "--requests", "16", "--output-tokens", "4"}), 0);
  const Total ttft_before = RouterTotal("tandem_request_ttft_seconds");
  const Total tpot_before = RouterTotal("tandem_request_tpot_seconds");
  ASSERT_EQ(Run({"--concurrency", "50", "--requests", "200", "--output-tokens", "30"}), 0);
  EXPECT_EQ(result_.counts.completed, 200U);
  EXPECT_EQ(result_.counts.tokens, 200U * 30);
  EXPECT_EQ(result_.concurrency_max, 50U);
  EXPECT_TRUE(result_.failed_checks.empty());
  const Total ttft = RouterTotal("tandem_request_ttft_seconds");
  const Total tpot = RouterTotal("tandem_request_tpot_seconds");
  EXPECT_EQ(ttft.count - ttft_before.count, 200);
  const double router_ttft =
      MeanBetween(ttft.sum - ttft_before.sum, ttft.count - ttft_before.count);
  const double router_tpot =
      MeanBetween(tpot.sum - tpot_before.sum, tpot.count - tpot_before.count);
  EXPECT_NEAR(absl::ToDoubleSeconds(result_.latencies.ttft.Mean()), router_ttft,
              0.05 * router_ttft);
  EXPECT_NEAR(absl::ToDoubleSeconds(result_.latencies.tpot.Mean()), router_tpot,
              0.05 * router_tpot);
}

TEST_F(LoadTest, NastyClientsLeaveNothingBehindAndSpoilNobodysAnswer) {
  // About 100 nasty ones: each of the eight kinds is drawn, but for once in 10^5 seeds.
  EXPECT_EQ(Run({"--concurrency", "24", "--requests", "300", "--output-tokens", "5..20", "--nasty",
                 "0.5", "--turns", "2"}),
            0);
  EXPECT_TRUE(result_.failed_checks.empty());
  EXPECT_TRUE(result_.errors.empty());
  EXPECT_TRUE(result_.problems.empty());
  EXPECT_GT(result_.counts.completed, 80U);
  for (int kind = static_cast<int>(RequestKind::kCancel); kind < kRequestKinds; ++kind) {
    EXPECT_GT(result_.counts.kinds[kind].requests, 0U) << kind;
  }
}

TEST_F(LoadTest, MoreThanThereIsRoomForIsShedAndCounted) {
  EXPECT_EQ(
      Run({"--rate", "200", "--arrival", "poisson", "--duration", "2s", "--output-tokens", "40"}),
      0);
  ASSERT_FALSE(result_.errors.empty());
  EXPECT_EQ(result_.errors.front().code, "RESOURCE_EXHAUSTED");
  EXPECT_GT(result_.counts.completed, 40U);
  EXPECT_TRUE(result_.failed_checks.empty());
}

TEST(GoldenLoadTest, KnownAnswersAmongTheLoadAreRightAndAWrongOneIsFound) {
  const Cluster cluster({});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(100)).ok());
  const std::string json = cluster.folder() + "/result.json";
  const auto run = [&](const std::string& goldens) {
    return RunLoad({"run", "--target", cluster.endpoint("router"), "--quiet", "--json", json,
                    "--concurrency", "4", "--requests", "16", "--prompt-tokens", "10..40",
                    "--output-tokens", "4..8", "--golden", absl::StrCat(goldens, ":0.5")});
  };
  const std::string known = TANDEM_SOURCE_DIR "/tests/golden/model/golden_tiny.json";
  EXPECT_EQ(run(known), 0);
  const auto good = ReadResultFile(json);
  ASSERT_TRUE(good.ok()) << good.status();
  const auto golden = static_cast<size_t>(RequestKind::kGolden);
  EXPECT_GT(good->front().counts.kinds[golden].requests, 0U);
  EXPECT_TRUE(good->front().failed_checks.empty());

  nlohmann::json cases = nlohmann::json::parse(std::ifstream(known));
  for (auto& [name, one] : cases["cases"].items()) {
    // A step with nothing beside it is decided.
    one["decode"][0] = {{"token", one["decode"][0]["token"].get<int>() == 7 ? 8 : 7}};
  }
  const std::string spoilt = cluster.folder() + "/spoilt.json";
  std::ofstream(spoilt) << cases;
  EXPECT_EQ(run(spoilt), 1);
  const auto bad = ReadResultFile(json);
  ASSERT_TRUE(bad.ok()) << bad.status();
  ASSERT_EQ(bad->front().failed_checks.size(), 1U);
  EXPECT_EQ(bad->front().failed_checks.front().name, "golden");
}

}  // namespace
}  // namespace tandem
