// SPDX-License-Identifier: Apache-2.0
// Goal: a prompt is refused for what waits before it exactly when that would last longer than the
// config allows, with a delay after which it would be taken; else by the worker's limits. Method:
// steps of known length, queues of known size, and the scheduler for what is read first.
#include "absl/algorithm/container.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/prefill/admission.h"
#include "services/prefill/prompts.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

using testing::HasSubstr;

constexpr absl::Duration kMost = absl::Milliseconds(400);

AdmissionLimits Limits(absl::Duration queue_wait_max) {
  return {.requests_max = 8,
          .context_tokens_max = 1000,
          .vocab_size = 100,
          .chunk_tokens = 200,
          .queue_wait_max = queue_wait_max};
}

v1::PrefillRequest RequestOf(int tokens) {
  v1::PrefillRequest request;
  request.mutable_sampling()->set_repetition_penalty(1);
  for (int i = 0; i < tokens; ++i) request.add_token_ids(i % 100);
  return request;
}

// Of prompts that are no longer than the one that asks.
Admission::Queue AllAsShort(int prompts, int64_t tokens) {
  return {.prompts = prompts, .tokens = tokens, .tokens_of_shorter = tokens};
}

TEST(QueueWaitTest, OnlyFullStepsTellTheRateAndTheNewestCountMost) {
  QueueWait wait(/*chunk_tokens=*/200);
  EXPECT_EQ(wait.Behind(1'000'000), absl::ZeroDuration()) << "nothing is known yet";
  wait.OnStep(1, absl::Milliseconds(50));
  wait.OnStep(199, absl::Seconds(5));
  EXPECT_EQ(wait.Behind(1'000'000), absl::ZeroDuration());
  wait.OnStep(200, absl::Milliseconds(20));  // 0.1 ms a token
  EXPECT_EQ(wait.Behind(3000), absl::Milliseconds(300));
  EXPECT_EQ(wait.Behind(0), absl::ZeroDuration());
  // Ten steps at half the rate: the mean is nearly there.
  for (int i = 0; i < 10; ++i) wait.OnStep(200, absl::Milliseconds(40));
  EXPECT_GT(wait.Behind(1000), absl::Milliseconds(185));
  EXPECT_LE(wait.Behind(1000), absl::Milliseconds(200));
}

TEST(AdmissionTest, WhoWouldWaitTooLongIsToldWhenToComeAgain) {
  Admission admission(Limits(kMost));
  EXPECT_TRUE(admission.Check(RequestOf(10), AllAsShort(1, 1'000'000)).ok());
  admission.OnStep(200, absl::Milliseconds(20));
  EXPECT_TRUE(admission.Check(RequestOf(1000), AllAsShort(4, 4000)).ok())
      << "what waits before it counts, not its own length";
  const absl::Status late = admission.Check(RequestOf(1), AllAsShort(5, 5000));
  EXPECT_EQ(late.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(late), "QUEUE_FULL");
  EXPECT_THAT(std::string(late.message()), HasSubstr("wait 500ms for 5000 tokens"));
  EXPECT_THAT(std::string(late.message()), HasSubstr("queue_wait_max is 400ms"));
  // By then the queue is down to what is allowed.
  EXPECT_EQ(FromProto(DetailsOf(late).retry.retry_delay()), absl::Milliseconds(100));
}

TEST(AdmissionTest, AShortPromptDoesNotWaitForAllOfALongOne) {
  Admission admission(Limits(kMost));
  admission.OnStep(200, absl::Milliseconds(20));
  EXPECT_TRUE(admission.Check(RequestOf(1), {.prompts = 1, .tokens = 1'000'000}).ok());
  // A quarter of each step is for those that are as short.
  EXPECT_TRUE(
      admission.Check(RequestOf(9), {.prompts = 5, .tokens = 9999, .tokens_of_shorter = 1000})
          .ok());
  const absl::Status late =
      admission.Check(RequestOf(9), {.prompts = 5, .tokens = 9999, .tokens_of_shorter = 1250});
  EXPECT_THAT(std::string(late.message()), HasSubstr("wait 500ms for 5000 tokens"));
}

// The prediction is what the schedule does: a prompt's first chunk comes in the step that the
// tokens ahead of it say, or before.
TEST(AdmissionTest, WhatIsAheadIsReadFirst) {
  for (const int tokens : {1, 30, 150, 700, 2000}) {
    Prompts prompts;
    PrefillScheduler scheduler(/*chunk_tokens=*/100);
    for (const int length : {1000, 300, 90, 500, 30, 10}) {
      const SequenceId id = prompts.size() + 1;
      prompts[id].tokens.resize(length);
      scheduler.Submit(id, length, 0);
    }
    const int64_t ahead = Admission::TokensAhead(QueueFor(tokens, prompts));
    const SequenceId mine = prompts.size() + 1;
    scheduler.Submit(mine, tokens, 0);
    const auto reads = [&](const PrefillItem& item) { return item.id == mine; };
    int64_t steps = 0;
    for (; absl::c_none_of(scheduler.Next().items, reads); ++steps)
      scheduler.Advance(scheduler.Next());
    EXPECT_LE(steps * 100, ahead) << tokens;
  }
}

TEST(AdmissionTest, WithoutALimitOfTheWaitTheNumberOfPromptsCounts) {
  Admission admission(Limits(absl::InfiniteDuration()));
  admission.OnStep(200, absl::Seconds(10));
  EXPECT_TRUE(admission.Check(RequestOf(1), AllAsShort(7, 1'000'000)).ok());
  const absl::Status full = admission.Check(RequestOf(1), {.prompts = 8});
  EXPECT_EQ(ReasonOf(full), "QUEUE_FULL");
  EXPECT_THAT(std::string(full.message()), HasSubstr("at most 8 at once"));
}

TEST(AdmissionTest, APromptThatCannotBeReadIsNamed) {
  const Admission admission(Limits(kMost));
  EXPECT_EQ(ReasonOf(admission.Check(RequestOf(0), {})), "INVALID_FIELD");
  EXPECT_EQ(ReasonOf(admission.Check(RequestOf(1001), {})), "PROMPT_TOO_LONG");
  v1::PrefillRequest request = RequestOf(3);
  request.set_token_ids(1, 100);
  EXPECT_THAT(std::string(admission.Check(request, {}).message()), HasSubstr("below 100, got 100"));
  request = RequestOf(3);
  request.mutable_sampling()->set_temperature(-1);
  EXPECT_EQ(ReasonOf(admission.Check(request, {})), "INVALID_FIELD");
  EXPECT_TRUE(admission.Check(RequestOf(3), {}).ok());
}

}  // namespace
}  // namespace tandem
