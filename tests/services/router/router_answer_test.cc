// SPDX-License-Identifier: Apache-2.0
// Goal: what the workers say reaches the client whole, once, in order and in the right field.
// Method: a real router over gRPC between a client and two scripted workers; deltas are joined and
// compared.
#include <string>

#include "gtest/gtest.h"
#include "tests/services/router/router_harness.h"

namespace tandem {
namespace {

constexpr char kLongStory[] = "Tom has 3 red apples and 4 green ones. He has 7 apples in all.";

TEST(RouterAnswerTest, TextArrivesWholeWithUsageAndTiming) {
  RouterHarness harness;
  harness.stage().Set({.tokens = harness.Script(kLongStory)});
  const Outcome outcome = harness.Generate(TextRequest("Tell me"));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  ASSERT_TRUE(outcome.events.front().has_accepted());
  EXPECT_FALSE(outcome.events.front().accepted().request_id().empty());
  const Outcome::Joined answer = outcome.Choice();
  EXPECT_EQ(answer.text, kLongStory);
  EXPECT_EQ(answer.token_ids, harness.Script(kLongStory));
  EXPECT_FALSE(answer.gaps);
  ASSERT_EQ(answer.finished.size(), 1U);
  EXPECT_EQ(answer.finished[0].reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.finished[0].usage().completion_tokens(), answer.token_ids.size());
  EXPECT_EQ(answer.finished[0].usage().prompt_tokens(),
            outcome.events.front().accepted().prompt_tokens());
  EXPECT_TRUE(answer.finished[0].timing().has_ttft());
  EXPECT_TRUE(answer.finished[0].timing().has_total());
  EXPECT_TRUE(outcome.events.back().has_finished());
  EXPECT_TRUE(harness.stage().Await([](const Seen& seen) { return seen.Idle(); }));
}

TEST(RouterAnswerTest, MaxTokensEndsWithLengthAndOneTokenNeedsNoDecode) {
  RouterHarness harness;
  harness.stage().Set({.tokens = harness.Script(kLongStory)});
  v1::GenerateRequest request = TextRequest("Tell me");
  request.set_max_tokens(5);
  Outcome::Joined answer = harness.Generate(request).Choice();
  EXPECT_EQ(answer.token_ids.size(), 5U);
  ASSERT_EQ(answer.finished.size(), 1U);
  EXPECT_EQ(answer.finished[0].reason(), v1::FINISH_REASON_LENGTH);

  request.set_max_tokens(1);
  answer = harness.Generate(request).Choice();
  EXPECT_EQ(answer.token_ids.size(), 1U);
  ASSERT_EQ(answer.finished.size(), 1U);
  EXPECT_EQ(answer.finished[0].reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_TRUE(harness.stage().Await([](const Seen& seen) { return seen.releases == 1; }));
  EXPECT_EQ(harness.stage().seen().generate_requests.size(), 1U);
  EXPECT_TRUE(harness.stage().Await([](const Seen& seen) { return seen.Idle(); }));
}

TEST(RouterAnswerTest, StopTextAcrossTokensIsCutAndStopsTheWorker) {
  RouterHarness harness;
  // Without an end of its own: only the stop text ends it.
  harness.stage().Set(
      {.tokens = harness.Script(kLongStory), .hang_after = harness.Script(kLongStory).size() - 1});
  v1::GenerateRequest request = TextRequest("Tell me");
  request.add_stop("green ones");
  const Outcome outcome = harness.Generate(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  const Outcome::Joined answer = outcome.Choice();
  EXPECT_EQ(answer.text, "Tom has 3 red apples and 4 ");
  ASSERT_EQ(answer.finished.size(), 1U);
  EXPECT_EQ(answer.finished[0].reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.finished[0].stop_text(), "green ones");
  EXPECT_EQ(answer.finished[0].usage().completion_tokens(), answer.token_ids.size());
  EXPECT_LT(answer.token_ids.size(), harness.Script(kLongStory).size() - 1);
  EXPECT_TRUE(harness.stage().Await([](const Seen& seen) { return seen.Idle(); }));
}

TEST(RouterAnswerTest, ThreeChoicesAreIndependentAndSeededInARow) {
  RouterHarness harness;
  harness.stage().Set({.tokens = harness.Script(kLongStory)});
  v1::GenerateRequest request = TextRequest("Tell me");
  request.mutable_sampling()->set_n(3);
  request.mutable_sampling()->set_seed(100);
  request.set_prompt_logprobs(true);
  const Outcome outcome = harness.Generate(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  for (uint32_t choice = 0; choice < 3; ++choice) {
    const Outcome::Joined answer = outcome.Choice(choice);
    EXPECT_EQ(answer.text, kLongStory);
    EXPECT_FALSE(answer.gaps);
    EXPECT_EQ(answer.finished.size(), 1U);
    EXPECT_EQ(answer.prompt_logprobs.size(),
              choice == 0 ? outcome.events.front().accepted().prompt_tokens() : 0U);
  }
  std::set<uint64_t> seeds;
  for (const auto& prefill : harness.stage().seen().prefill_requests) {
    seeds.insert(prefill.sampling().seed());
  }
  EXPECT_EQ(seeds, (std::set<uint64_t>{100, 101, 102}));
}

TEST(RouterAnswerTest, LogprobsStayWithTheirTokens) {
  RouterHarness harness;
  harness.stage().Set({.tokens = harness.Script(kLongStory)});
  v1::GenerateRequest request = TextRequest("Tell me");
  request.set_logprobs(2);
  request.set_stream_interval(3);
  const Outcome outcome = harness.Generate(request);
  const Outcome::Joined answer = outcome.Choice();
  ASSERT_EQ(answer.logprobs.size(), answer.token_ids.size());
  ASSERT_EQ(answer.top.size(), answer.token_ids.size());
  for (size_t i = 0; i < answer.token_ids.size(); ++i) {
    EXPECT_EQ(answer.logprobs[i], -static_cast<float>(answer.token_ids[i]));
    ASSERT_EQ(answer.top[i].token_ids_size(), 2);
    EXPECT_EQ(answer.top[i].token_ids(0), answer.token_ids[i]);
  }
}

TEST(RouterAnswerTest, StreamIntervalSetsTheSmallestDeltaAfterTheFirst) {
  RouterHarness harness;
  harness.stage().Set({.tokens = harness.Script(kLongStory)});
  v1::GenerateRequest request = TextRequest("Tell me");
  request.set_stream_interval(4);
  const Outcome outcome = harness.Generate(request);
  std::vector<int> sizes;
  for (const auto& event : outcome.events) {
    if (event.has_delta()) sizes.push_back(event.delta().token_ids_size());
  }
  ASSERT_GE(sizes.size(), 2U);
  for (size_t i = 1; i + 1 < sizes.size(); ++i) EXPECT_GE(sizes[i], 4);
  EXPECT_EQ(outcome.Choice().text, kLongStory);
}

TEST(RouterAnswerTest, ThinkingSplitsReasoningFromAnswerAndCountsIt) {
  RouterHarness harness;
  const std::vector<uint32_t> reasoning = harness.Script("3 + 4 = 7</think>");
  harness.stage().Set({.tokens = harness.Script("3 + 4 = 7</think>Seven.")});
  v1::GenerateRequest request = ChatRequest("How many?");
  request.set_thinking(v1::THINKING_ON);
  const Outcome outcome = harness.Generate(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  const Outcome::Joined answer = outcome.Choice();
  EXPECT_EQ(answer.reasoning, "3 + 4 = 7");
  EXPECT_EQ(answer.text, "Seven.");
  ASSERT_EQ(answer.finished.size(), 1U);
  EXPECT_EQ(answer.finished[0].usage().reasoning_tokens(), reasoning.size() - 1);
}

TEST(RouterAnswerTest, ToolCallsComeWholeAndNameTheReason) {
  RouterHarness harness;
  harness.stage().Set({.tokens = harness.Script(
                           "Let me see.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"add\">\n"
                           "<｜DSML｜parameter name=\"a\" string=\"false\">3</｜DSML｜parameter>\n"
                           "</｜DSML｜invoke>\n</｜DSML｜tool_calls>")});
  v1::GenerateRequest request = ChatRequest("3 + 4?");
  request.set_max_tokens(1000);
  request.mutable_chat()->set_tools_json(
      R"([{"type": "function", "function": {"name": "add", "parameters": {}}}])");
  const Outcome outcome = harness.Generate(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  const Outcome::Joined answer = outcome.Choice();
  EXPECT_EQ(answer.text, "Let me see.");
  ASSERT_EQ(answer.tool_calls.size(), 1U);
  EXPECT_EQ(answer.tool_calls[0].name(), "add");
  EXPECT_EQ(answer.tool_calls[0].arguments_json(), R"({"a": 3})");
  EXPECT_FALSE(answer.tool_calls[0].id().empty());
  ASSERT_EQ(answer.finished.size(), 1U);
  EXPECT_EQ(answer.finished[0].reason(), v1::FINISH_REASON_TOOL_CALLS);
}

TEST(RouterAnswerTest, IgnoredEndOfSentenceHasNoText) {
  RouterHarness harness;
  std::vector<uint32_t> tokens = harness.Script("one");
  const std::vector<uint32_t> more = harness.Script(" two");
  tokens.insert(tokens.end(), more.begin(), more.end());
  harness.stage().Set({.tokens = tokens});
  v1::GenerateRequest request = TextRequest("Count");
  request.set_ignore_eos(true);
  request.set_max_tokens(static_cast<uint32_t>(tokens.size()));
  const Outcome outcome = harness.Generate(request);
  EXPECT_EQ(outcome.Choice().text, "one two");
  EXPECT_EQ(outcome.Choice().token_ids, tokens);
  const auto request_seen = harness.stage().seen().generate_requests.at(0);
  EXPECT_TRUE(request_seen.stop_token_ids().empty());
}

}  // namespace
}  // namespace tandem
