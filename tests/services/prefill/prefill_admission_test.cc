// SPDX-License-Identifier: Apache-2.0
// Goal: a prompt is refused for what waits before it exactly when that would last longer than the
// config allows, with a delay after which it would be taken; else by the worker's limits. Method:
// steps of known length, queues of known size.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/prefill/admission.h"
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
  EXPECT_TRUE(admission.Check(RequestOf(10), {.prompts = 1, .tokens = 1'000'000}).ok());
  admission.OnStep(200, absl::Milliseconds(20));
  EXPECT_TRUE(admission.Check(RequestOf(1000), {.prompts = 4, .tokens = 4000}).ok())
      << "what waits before it counts, not its own length";
  const absl::Status late = admission.Check(RequestOf(1), {.prompts = 5, .tokens = 5000});
  EXPECT_EQ(late.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(late), "QUEUE_FULL");
  EXPECT_THAT(std::string(late.message()), HasSubstr("wait 500ms for 5000 tokens"));
  EXPECT_THAT(std::string(late.message()), HasSubstr("queue_wait_max is 400ms"));
  // By then the queue is down to what is allowed.
  EXPECT_EQ(FromProto(DetailsOf(late).retry.retry_delay()), absl::Milliseconds(100));
}

TEST(AdmissionTest, WithoutALimitOfTheWaitTheNumberOfPromptsCounts) {
  Admission admission(Limits(absl::InfiniteDuration()));
  admission.OnStep(200, absl::Seconds(10));
  EXPECT_TRUE(admission.Check(RequestOf(1), {.prompts = 7, .tokens = 1'000'000}).ok());
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
