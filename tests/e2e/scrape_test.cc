// SPDX-License-Identifier: Apache-2.0
// Goal: after one request, /metrics of the three processes tell of it: time to first token, time
// per token, tokens, queues, KV pages, hand-off bytes and seconds, by the names of series.h and in
// a form that Prometheus reads. Method: scrape before and after, through both kinds of channel.
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/metrics/series.h"
#include "services/runtime/metrics/vllm_series.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/exposition.h"

namespace tandem {
namespace {

namespace vllm = series::vllm;

constexpr int kTokens = 12;

Exposition Scrape(const Cluster& cluster, const std::string& name) {
  absl::StatusOr<Exposition> out = ScrapeMetrics(cluster.metrics_endpoint(name));
  EXPECT_TRUE(out.ok()) << out.status();
  if (!out.ok()) return {};
  EXPECT_THAT(out->faults, testing::IsEmpty()) << name;
  return *std::move(out);
}

// What a request must add to a sum.
struct Moved {
  const series::Series& series;
  std::string suffix;  // _count or nothing
  MetricLabels labels;
  double by = 0;
};

struct Expectation {
  std::string process;
  std::vector<Moved> moved;
  std::vector<Moved> present;  // `by` is not looked at
};

std::string Missing(const Expectation& want, const Exposition& before, const Exposition& after) {
  std::string out;
  for (const Moved& moved : want.moved) {
    const std::string name = moved.series.name + moved.suffix;
    const double by = after.Sum(name, moved.labels) - before.Sum(name, moved.labels);
    if (by != moved.by) absl::StrAppend(&out, name, " moved by ", by, ", not ", moved.by, "\n");
  }
  for (const Moved& there : want.present) {
    if (!after.Has(there.series.name + there.suffix, there.labels)) {
      absl::StrAppend(&out, there.series.name, there.suffix, " is not there\n");
    }
  }
  return out;
}

Expectation OfTheRouter(double prompt_tokens) {
  return {.process = "router",
          .moved = {{series::kRequests, "", {{"outcome", "length"}, {"code", "OK"}}, 1},
                    {series::kTtft, "_count", {}, 1},
                    {vllm::kTtft, "_count", {}, 1},
                    {series::kGoodput, "", {{"slo", "ttft"}}, 1},
                    {series::kSloViolations, "", {{"slo", "e2e"}}, 1},
                    {vllm::kRequestSuccess, "", {{"finished_reason", "length"}}, 1},
                    {vllm::kQueueTime, "_count", {}, 1},
                    {vllm::kInferenceTime, "_count", {}, 1},
                    {series::kPromptLength, "_sum", {}, prompt_tokens},
                    {vllm::kPromptLength, "_sum", {}, prompt_tokens},
                    {series::kAnswerLength, "_sum", {}, kTokens},
                    {vllm::kAnswerLength, "_sum", {}, kTokens},
                    {vllm::kParamsN, "_sum", {}, 1},
                    {vllm::kParamsMaxTokens, "_sum", {}, kTokens},
                    {series::kTpot, "_count", {}, 1},
                    {series::kE2e, "_count", {}, 1},
                    {series::kStage, "_count", {{"stage", "template"}}, 1},
                    {series::kStage, "_count", {{"stage", "tokenize"}}, 1},
                    {series::kStage, "_count", {{"stage", "route"}}, 1},
                    {series::kStage, "_count", {{"stage", "reserve"}}, 1},
                    {series::kStage, "_count", {{"stage", "decode"}}, 1},
                    {series::kStage, "_count", {{"stage", "detokenize"}}, 1},
                    {series::kStage, "_count", {{"stage", "send"}}, 1}},
          // What moves the first two: router_metrics_test.cc, slow_reader_test.cc.
          .present = {{series::kRetries, "", {{"stage", "reserve"}, {"result", "ok"}}},
                      {series::kStreamBackpressure, "", {}},
                      {series::kQueueDepth, "", {{"queue", "requests"}}},
                      {series::kSlowReaderAborts, "", {}},
                      {series::kWorkersUp, "", {{"kind", "prefill"}}},
                      {series::kWorkersUp, "", {{"kind", "decode"}}},
                      {series::kWorkersRegistered, "", {}},
                      {series::kRequestsInflight, "", {{"stage", "decode"}}}}};
}

Expectation OfPrefill(const std::string& transport, double prompt_tokens) {
  const MetricLabels handed = {{"transport", transport}, {"direction", "write"}};
  const MetricLabels as_bytes = {{"reason", "downgrade"}, {"transport", "grpc"}};
  return {.process = "prefill-0",
          .moved = {{series::kTokens, "", {{"kind", "prompt_computed"}}, prompt_tokens},
                    {series::kTokens, "", {{"kind", "generated"}}, 1},
                    {series::kStepTokens, "_sum", {}, prompt_tokens},
                    {vllm::kPromptTokens, "", {}, prompt_tokens},
                    {vllm::kPromptTokensBySource, "", {}, prompt_tokens},
                    {vllm::kPrefillTime, "_count", {}, 1},
                    {series::kKvTransfer, "_count", handed, 1},
                    {series::kKvTransferBytes, "_count", handed, 1},
                    {series::kKvTransferDescriptors, "_count", handed, 1},
                    {series::kStage, "_count", {{"stage", "kv_alloc_wait"}}, 1}},
          .present = {{series::kQueueDepth, "", {{"queue", "waiting"}}},
                      {series::kQueueDepth, "", {{"queue", "handing"}}},
                      {series::kStep, "_count", {{"phase", "prefill"}}},
                      {series::kQueueOldestAge, "", {{"queue", "waiting"}}},
                      {series::kQueueCost, "", {{"queue", "waiting"}}},
                      {series::kKvTransferFailures, "", as_bytes},
                      {vllm::kCacheConfig, "", {{"block_size", "256"}}},
                      {vllm::kPromptTokensCached, "", {}},
                      {series::kPeerLink, "", {{"transport", transport}}},
                      {series::kKvTransferThroughput, "_count", handed},
                      {series::kTransportInfo, "", {{"transport", transport}}}}};
}

Expectation OfDecode(const std::string& transport, double prompt_tokens) {
  return {.process = "decode-0",
          .moved = {{series::kTokens, "", {{"kind", "generated"}}, kTokens - 1},
                    {series::kStepTokens, "_sum", {}, kTokens - 1},
                    {series::kInterTokenGap, "_count", {}, kTokens - 1},
                    {vllm::kInterTokenLatency, "_count", {}, kTokens - 1},
                    // The first one as well, which prefill drew.
                    {vllm::kGenerationTokens, "", {}, kTokens},
                    {vllm::kIterationTokens, "_count", {}, kTokens - 1},
                    {vllm::kDecodeTime, "_count", {}, 1},
                    {vllm::kExternalHits, "", {}, prompt_tokens},
                    {series::kGraphSteps, "", {{"hit", "false"}}, kTokens - 1},
                    {series::kStage, "_count", {{"stage", "decode_queue"}}, 1},
                    {series::kStage, "_count", {{"stage", "first_decode_step"}}, 1},
                    {series::kTokens, "", {{"kind", "wasted"}}, 0},
                    {series::kKvBlocks, "", {}, 0}},
          .present = {{series::kQueueDepth, "", {{"queue", "running"}}},
                      {series::kKvBlocks, "", {{"state", "free"}}},
                      {series::kKvBlocks, "", {{"state", "receiving"}}},
                      {series::kStepLaunches, "", {{"batch", "1"}}},
                      {series::kKvBytes, "", {{"pool", "compressed"}}},
                      {series::kKvQuarantine, "", {}},
                      {vllm::kPreemptions, "", {}},
                      {series::kKvUsage, "", {}},
                      {series::kTransportInfo, "", {{"transport", transport}}},
                      {vllm::kRunning, "", {}},
                      {vllm::kKvUsage, "", {}},
                      {vllm::kCacheConfig, "", {{"num_gpu_blocks", absl::StrCat(kDecodePages)}}}}};
}

std::vector<Expectation> Expected(const std::string& transport, double prompt_tokens) {
  return {OfTheRouter(prompt_tokens), OfPrefill(transport, prompt_tokens),
          OfDecode(transport, prompt_tokens)};
}

// Every process counts on its own time: what a client has read may be counted a moment later.
void ExpectSoon(const Cluster& cluster, const Expectation& want, const Exposition& before) {
  const absl::Time limit = absl::Now() + absl::Seconds(20);
  std::string missing;
  do {
    missing = Missing(want, before, Scrape(cluster, want.process));
    if (missing.empty()) return;
    absl::SleepFor(absl::Milliseconds(50));
  } while (absl::Now() < limit);
  ADD_FAILURE() << want.process << ":\n" << missing;
}

class MetricsTest : public testing::TestWithParam<std::string> {};

TEST_P(MetricsTest, OneRequestMovesTheSeriesOfAllThreeProcesses) {
  const std::string kind = GetParam() == "shared" ? "SHARED" : "GRPC";
  const Cluster cluster({.router_extra = "slo { ttft { seconds: 600 } e2e { nanos: 1 } }",
                         .prefill_extra = "kv_channel_kind: KV_CHANNEL_KIND_" + kind});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(100)).ok());
  ASSERT_TRUE(cluster.WaitAllFree("decode-0", absl::Seconds(20)).ok());
  // The warm-up's last counts are in before ours begin.
  absl::SleepFor(absl::Seconds(1));
  std::map<std::string, Exposition> before;
  for (const std::string& name : cluster.names()) before[name] = Scrape(cluster, name);

  v1::GenerateRequest request = GreedyChat("How many plums are left?", false, kTokens);
  request.set_ignore_eos(true);
  const Outcome outcome = Generate(*cluster.NewClient(), request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  for (const Expectation& want : Expected(GetParam(), outcome.prompt_tokens)) {
    ExpectSoon(cluster, want, before.at(want.process));
  }
  // Rows that are written in place do not travel.
  const Exposition prefill = Scrape(cluster, "prefill-0");
  for (const series::Series& each : {series::kKvTransferBytes, series::kKvTransferDescriptors}) {
    const double moved = prefill.Sum(absl::StrCat(each.name, "_sum"), {{"transport", GetParam()}});
    if (GetParam() == "grpc") {
      EXPECT_GT(moved, 0) << each.name;
    } else {
      EXPECT_EQ(moved, 0) << each.name;
    }
  }
  EXPECT_EQ(before.at("decode-0").Sum(series::kKvBlocks.name), kDecodePages);
}

// An answer of the simulated engine repeats the user's words: here blocks of calls, of which the
// first is as the format has it, the second is out of place, the third is broken.
TEST(MetricsToolCallsTest, AnswersWithCallsMoveAllThree) {
  const Cluster cluster({.worker_extra = "engine: ENGINE_SIM sim { decode_step { nanos: 1000 } }"});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(100)).ok());
  const Exposition before = Scrape(cluster, "router");
  const std::string call = "<｜DSML｜invoke name=\"f\">\n\n</｜DSML｜invoke>\n";
  const std::string close = "</｜DSML｜tool_calls>";
  const std::string block = "\n\n<｜DSML｜tool_calls>\n" + call + close;
  v1::GenerateRequest request =
      GreedyChat(block + block + "\n\n<｜DSML｜tool_calls>\nf(x)" + close, false, 1);
  const Outcome asked = Generate(*cluster.NewClient(), request);
  ASSERT_TRUE(asked.status.ok()) << asked.status;
  // Once through the prompt, and no further.
  request.set_max_tokens(asked.prompt_tokens - 1);
  request.set_ignore_eos(true);
  const Outcome outcome = Generate(*cluster.NewClient(), request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.only().tool_calls.size(), 2U);
  ExpectSoon(cluster,
             {.process = "router",
              .moved = {{series::kToolCallParsed, "", {}, 1},
                        {series::kToolCallRepaired, "", {}, 1},
                        {series::kToolCallMalformed, "", {}, 1}},
              .present = {}},
             before);
}

TEST(MetricsLabelsTest, EverySeriesSaysRoleAndModel) {
  const Cluster cluster({});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(100)).ok());
  for (const std::string& name : cluster.names()) {
    const Exposition text = Scrape(cluster, name);
    EXPECT_TRUE(text.Has(series::kBuildInfo.name)) << name;
    EXPECT_TRUE(text.Has(series::kConfigInfo.name)) << name;
    const std::string role = name.substr(0, name.find('-'));
    for (const MetricSample& sample : text.samples) {
      if (!sample.name.starts_with("tandem_")) continue;
      EXPECT_EQ(sample.labels.count("model_name"), 1U) << sample.name;
      EXPECT_EQ(sample.labels.at("role"), role) << sample.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Channels, MetricsTest, testing::Values("shared", "grpc"),
                         [](const auto& info) { return info.param; });

TEST(ExpositionTest, WhatPrometheusRefusesIsAFault) {
  const std::string head = "# HELP a_total x\n# TYPE a_total counter\n";
  EXPECT_THAT(ParseExposition(head + "a_total{b=\"c\"} 1\n").faults, testing::IsEmpty());
  const std::string hist = "# HELP h x\n# TYPE h histogram\n";
  EXPECT_THAT(ParseExposition(hist + "h_count 2\nh_sum 1\nh_bucket{le=\"1\"} 1\n"
                                     "h_bucket{le=\"+Inf\"} 2\n")
                  .faults,
              testing::IsEmpty());
  for (const std::string& bad :
       {head + "a_total 1", head + "a_total -1\n", head + "a_total x\n", head + "b 1\n",
        head + "a_total 1\na_total 2\n", head + "a_total{b=c} 1\n", head + "a total 1\n",
        head + head + "a_total 1\n", std::string("# TYPE a gauge\na 1\n"),
        hist + "h_count 2\nh_sum 1\nh_bucket{le=\"1\"} 2\n",
        hist + "h_count 3\nh_sum 1\nh_bucket{le=\"+Inf\"} 2\n",
        hist + "h_count 2\nh_sum 1\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\n"}) {
    EXPECT_THAT(ParseExposition(bad).faults, testing::Not(testing::IsEmpty())) << bad;
  }
}

}  // namespace
}  // namespace tandem
