// SPDX-License-Identifier: Apache-2.0
// Goal: what lets a router carry many answers and turn down more: their tokens come on one stream,
// and a worker that is full is not asked again. Method: fake workers; an older one has no such
// stream.
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/status.h"
#include "tests/services/router/router_harness.h"

namespace tandem {
namespace {

constexpr absl::string_view kStory = "Tom has 5 apples. Ana gives Tom 7 more.";

// Answers come on a stream of many once it stands.
bool AwaitStream(RouterHarness& harness) {
  for (int i = 0; i < 500; ++i) {
    const int before = harness.stage().seen().on_stream;
    if (!harness.Generate(TextRequest("Tell me")).status.ok()) return false;
    if (harness.stage().seen().on_stream > before) return true;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return false;
}

TEST(RouterLoadTest, AnswersShareOneStreamAndComeWhole) {
  RouterHarness harness;
  harness.stage().Set({.tokens = harness.Script(kStory)});
  ASSERT_TRUE(AwaitStream(harness));
  std::vector<std::unique_ptr<Running>> running;
  for (int i = 0; i < 20; ++i)
    running.push_back(std::make_unique<Running>(harness, TextRequest("Tell me")));
  for (const auto& each : running) {
    const Outcome& outcome = each->Join();
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.Choice().text, kStory);
    EXPECT_FALSE(outcome.Choice().gaps);
  }
  EXPECT_TRUE(harness.stage().Await(Idle));
}

TEST(RouterLoadTest, AnOlderWorkerGivesEachAnswerItsOwn) {
  RouterHarness harness({}, {.answers = false});
  harness.stage().Set({.tokens = harness.Script(kStory)});
  const Outcome outcome = harness.Generate(TextRequest("Tell me"));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.Choice().text, kStory);
  EXPECT_EQ(harness.stage().seen().on_stream, 0);
}

TEST(RouterLoadTest, TheEndOfTheStreamEndsItsAnswersAndAnotherOneIsOpened) {
  RouterHarness harness;
  harness.stage().Set({.tokens = harness.Script(kStory)});
  ASSERT_TRUE(AwaitStream(harness));
  harness.stage().Set({.tokens = harness.Script(kStory), .hang_after = 2});
  Running running(harness, TextRequest("Tell me"));
  ASSERT_TRUE(harness.stage().Await([](const Seen& seen) { return seen.generating == 1; }));
  harness.decode().CutTokens();
  const Outcome& outcome = running.Join();
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable) << outcome.status;
  EXPECT_EQ(ReasonOf(outcome.status), "WORKER_LOST");
  ASSERT_EQ(outcome.Choice().finished.size(), 1U);
  EXPECT_EQ(outcome.Choice().finished[0].reason(), v1::FINISH_REASON_ERROR);
  EXPECT_TRUE(harness.stage().Await(Idle)) << "its call is cancelled";
  harness.stage().Set({.tokens = harness.Script(kStory)});
  EXPECT_TRUE(AwaitStream(harness));
}

TEST(RouterLoadTest, AWorkerThatIsFullIsNotAskedAgainUntilSomethingEnds) {
  RouterHarness harness({}, {.slots_free = 0});
  harness.stage().Set({.tokens = harness.Script(kStory), .hang_after = 2});
  Running running(harness, TextRequest("Tell me"));
  ASSERT_TRUE(harness.stage().Await([](const Seen& seen) { return seen.generating == 1; }));

  harness.stage().Set({.reserve_error = KvBudget({.message = "0 of 1 slots are free"})});
  EXPECT_EQ(harness.Generate(TextRequest("Tell me")).status.message(), "0 of 1 slots are free");
  const int asked = harness.stage().seen().reserves;
  for (int i = 0; i < 10; ++i) {
    const absl::Status status = harness.Generate(TextRequest("Tell me")).status;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ReasonOf(status), "KV_BUDGET");
    EXPECT_TRUE(DetailsOf(status).retry.has_retry_delay());
  }
  EXPECT_EQ(harness.stage().seen().reserves, asked);
  // A smaller one may fit where that one did not.
  v1::GenerateRequest small = TextRequest("Tell me");
  small.set_max_tokens(1);
  EXPECT_EQ(harness.Generate(small).status.message(), "0 of 1 slots are free");
  EXPECT_EQ(harness.stage().seen().reserves, asked + 1);

  harness.stage().Set({.tokens = harness.Script(kStory)});
  EXPECT_EQ(ReasonOf(harness.Generate(TextRequest("Tell me")).status), "KV_BUDGET");
  harness.decode().CutTokens();  // the one that runs ends
  (void)running.Join();
  Outcome outcome;
  for (int i = 0; i < 100; ++i) {
    outcome = harness.Generate(TextRequest("Tell me"));
    if (outcome.status.ok()) break;
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
}

}  // namespace
}  // namespace tandem
