// SPDX-License-Identifier: Apache-2.0
// Goal: what only the router can count, it counts once: the stages of a choice, tool calls by what
// became of them, requests that a draining worker passed on, and refusals by either worker. Method:
// scripted workers; the router's series before and after.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/runtime/rpc/status.h"
#include "tests/services/router/router_harness.h"

namespace tandem {
namespace {

constexpr char kCall[] =
    "<｜DSML｜invoke name=\"add\">\n<｜DSML｜parameter name=\"a\" "
    "string=\"false\">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n";
constexpr char kOpen[] = "<｜DSML｜tool_calls>\n";
constexpr char kClose[] = "</｜DSML｜tool_calls>";

TEST(RouterMetricsTest, StagesOfAChoiceEachOnce) {
  RouterHarness harness;
  harness.stage().Set({.tokens = harness.Script(kStory)});
  ASSERT_TRUE(harness.Generate(TextRequest("Tell me")).status.ok());
  for (const char* stage : {"tokenize", "route", "reserve", "prefill_queue", "prefill",
                            "kv_transfer", "decode", "detokenize", "send"}) {
    EXPECT_TRUE(Becomes(harness.router(), {.name = "tandem_stage_seconds_count",
                                           .label = "stage=\"" + std::string(stage) + "\"",
                                           .value = 1}))
        << stage;
  }
  // A text is not rendered; a chat is.
  const std::string rendered = "stage=\"template\"";
  EXPECT_EQ(MetricOf(harness.router(), "tandem_stage_seconds_count", rendered), 0);
  ASSERT_TRUE(harness.Generate(ChatRequest("Tell me")).status.ok());
  EXPECT_TRUE(Becomes(harness.router(),
                      {.name = "tandem_stage_seconds_count", .label = rendered, .value = 1}));
  // Those that follow each other are no longer than the requests.
  double stages = 0;
  for (const char* stage : {"template", "tokenize", "route", "reserve", "decode"}) {
    const std::string label = "stage=\"" + std::string(stage) + "\"";
    const double seconds = MetricOf(harness.router(), "tandem_stage_seconds_sum", label);
    EXPECT_GT(seconds, 0) << stage;
    stages += seconds;
  }
  EXPECT_LE(stages, MetricOf(harness.router(), "tandem_request_e2e_seconds_sum", ""));
}

TEST(RouterMetricsTest, AWaitForATurnInDecodeIsQueueTimeAndNoLongerThanDecode) {
  RouterHarness harness;
  harness.stage().Set({.tokens = harness.Script(kStory), .decode_queue = absl::Hours(1)});
  ASSERT_TRUE(harness.Generate(TextRequest("Tell me")).status.ok());
  ASSERT_TRUE(Becomes(harness.router(),
                      {.name = "vllm:request_queue_time_seconds_count", .label = "", .value = 1}));
  const auto stages = [&](const std::vector<std::string>& names) {
    double sum = 0;
    for (const std::string& name : names) {
      sum += MetricOf(harness.router(), "tandem_stage_seconds_sum", "stage=\"" + name + "\"");
    }
    return sum;
  };
  const double decode = stages({"decode"});
  EXPECT_GT(decode, 0);
  EXPECT_NEAR(MetricOf(harness.router(), "vllm:request_queue_time_seconds_sum", ""),
              stages({"reserve", "prefill_queue"}) + decode, 1e-6);
  EXPECT_NEAR(MetricOf(harness.router(), "vllm:request_inference_time_seconds_sum", ""),
              stages({"prefill", "kv_transfer"}), 1e-6);
}

TEST(RouterMetricsTest, ToolCallsByWhatBecameOfThem) {
  RouterHarness harness;
  const std::string block = std::string(kOpen) + kCall + kClose;
  struct Case {
    std::string text;
    double parsed = 0, repaired = 0, malformed = 0;  // so far
  };
  const std::vector<Case> cases = {
      {kStory, 0, 0, 0},
      {"Let me see.\n\n" + std::string(kOpen) + kCall + kCall + kClose, 2, 0, 0},
      {"Let me see: " + block, 2, 1, 0},
      {"\n\n" + std::string(kOpen) + kCall + "and so on" + kClose, 3, 1, 1},
      {"\n\n" + std::string(kOpen) + "<｜DSML｜invoke name=\"add", 3, 1, 2}};
  for (const Case& each : cases) {
    harness.stage().Set({.tokens = harness.Script(each.text)});
    v1::GenerateRequest request = ChatRequest("3 + 4?");
    request.set_max_tokens(1000);
    ASSERT_TRUE(harness.Generate(request).status.ok());
    for (const WantedMetric& wanted :
         {WantedMetric{"tandem_tool_call_parsed_total", "", each.parsed},
          WantedMetric{"tandem_tool_call_repaired_total", "", each.repaired},
          WantedMetric{"tandem_tool_call_malformed_total", "", each.malformed}}) {
      EXPECT_TRUE(Becomes(harness.router(), wanted)) << wanted.name << " after " << each.text;
    }
  }
}

TEST(RouterMetricsTest, WhatADrainingWorkerPassesOnIsARetry) {
  Stage leaving_stage;
  const FakeWorker leaving(leaving_stage, {.role = v1::WORKER_ROLE_DECODE});
  leaving_stage.Set({.reserve_error = Draining({.message = "going down"})});
  v1::RouterConfig config;
  config.add_decode_workers(leaving.endpoint());  // the first of the list is asked first
  RouterHarness harness(config);
  harness.stage().Set({.tokens = harness.Script(kStory)});
  const auto retries = [&](const std::string& result) {
    return MetricOf(harness.router(), "tandem_retries_total",
                    "result=\"" + result + "\",stage=\"reserve\"");
  };
  // Until the router knows of it, requests go to the other anyway.
  for (int i = 0; i < 500 && leaving_stage.seen().reserves == 0; ++i) {
    EXPECT_EQ(retries("ok"), 0);
    ASSERT_TRUE(harness.Generate(TextRequest("Tell me")).status.ok());
  }
  EXPECT_EQ(leaving_stage.seen().reserves, 1);
  EXPECT_EQ(retries("ok"), 1);
  EXPECT_EQ(retries("failed"), 0);

  // Whoever is asked second does not help.
  harness.stage().Set({.reserve_error = absl::InternalError("broken")});
  for (int i = 0; i < 500 && retries("failed") == 0; ++i) {
    const absl::Status status = harness.Generate(TextRequest("Tell me")).status;
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_GE(retries("failed"), 1);
  EXPECT_EQ(retries("ok"), 1);
}

TEST(RouterMetricsTest, RefusalsOfEitherWorkerAreCountedByReason) {
  RouterHarness harness;
  const auto refused = [&](const std::string& reason, double count) {
    return Becomes(harness.router(), {.name = "tandem_admission_rejected_total",
                                      .label = "reason=\"" + reason + "\"",
                                      .value = count});
  };
  harness.stage().Set({.prefill_error = QueueFull({.message = "2 s of prompts wait"})});
  EXPECT_EQ(ReasonOf(harness.Generate(TextRequest("Tell me")).status), "QUEUE_FULL");
  EXPECT_TRUE(refused("QUEUE_FULL", 1));
  // What was begun was not refused.
  harness.stage().Set({.tokens = {5, 6, 7}, .generate_error = QueueFull({.message = "streams"})});
  EXPECT_EQ(ReasonOf(harness.Generate(TextRequest("Tell me")).status), "QUEUE_FULL");
  EXPECT_TRUE(Becomes(
      harness.router(),
      {.name = "tandem_requests_total", .label = "code=\"RESOURCE_EXHAUSTED\"", .value = 2}));
  EXPECT_TRUE(refused("QUEUE_FULL", 1));
  harness.stage().Set({.reserve_error = KvBudget({.message = "0 of 8 pages are free"})});
  EXPECT_EQ(ReasonOf(harness.Generate(TextRequest("Tell me")).status), "KV_BUDGET");
  EXPECT_TRUE(refused("KV_BUDGET", 1));
}

}  // namespace
}  // namespace tandem
