// SPDX-License-Identifier: Apache-2.0
// Goal: prompts that wait for staging memory get it in the order in which they came, whatever their
// size; who needs none waits for none. Method: both workers in this process, little staging memory,
// and a GPU that copies when it is let.
#include <algorithm>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/workers/gated_gpu.h"
#include "tests/e2e/workers/test_workers.h"

namespace tandem {
namespace {

// Who asks with a prompt of so many tokens; ends when it is answered.
class Prompt {
 public:
  Prompt(TestPrefill& prefill, TestDecode& decode, int tokens)
      : client_("client", [this, &prefill, &decode, tokens] {
          const Answer answer = Ask(
              prefill, decode,
              {.prompt = std::vector<int32_t>(tokens, 7), .max_tokens = 2, .sampling = Greedy()});
          EXPECT_TRUE(answer.status.ok()) << answer.status;
        }) {}

 private:
  Thread client_;
};

// Prompts of the worker, of whatever stage.
int Prompts(const TestPrefill& prefill, const std::string& stage) {
  const std::string text = prefill.Metrics();
  const std::regex depth("tandem_queue_depth\\{[^}]*queue=\"(" + stage + ")\"[^}]*\\} ([0-9]+)");
  int sum = 0;
  for (std::sregex_iterator it(text.begin(), text.end(), depth), end; it != end; ++it)
    sum += std::stoi((*it)[2]);
  return sum;
}

bool AwaitPrompts(const TestPrefill& prefill, int count) {
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (Prompts(prefill, "waiting|running|handing") < count) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

class StagingTest : public testing::Test {
 protected:
  TestPrefill::Options Little() {
    return {.chunk_tokens = 512,
            .staging_pages = 2,
            .preferred = v1::KV_CHANNEL_KIND_SHARED,
            .link_timeout = absl::Minutes(10),
            .backend = &near_};
  }
  FakeGpu far_{"0000:01:00.0"};
  GatedGpu near_{"0000:02:00.0"};
};

TEST_F(StagingTest, ALongPromptGetsItsTurnBeforeShortOnesThatCameLater) {
  TestDecode decode({.backend = &far_});
  TestPrefill prefill(Little());
  near_.Shut();
  const absl::Cleanup open = [this] { near_.Open(); };
  std::vector<std::unique_ptr<Prompt>> prompts;
  // One of the two pages is held until the gate opens; the long prompt needs both.
  for (const int tokens : {8, kPageTokens + 1, 8, 8, 8}) {
    prompts.push_back(std::make_unique<Prompt>(prefill, decode, tokens));
    ASSERT_TRUE(AwaitPrompts(prefill, static_cast<int>(prompts.size())));
    ASSERT_TRUE(prompts.size() > 1 || near_.AwaitOrder());
  }
  near_.Open();
  prompts.clear();
  const std::vector<int64_t> orders = near_.orders();
  // The long one's rows go layer by layer, behind those of the first and before the others.
  ASSERT_EQ(orders.size(), 4U + 6);
  EXPECT_EQ(std::count(orders.begin() + 1, orders.begin() + 7, orders[0]), 0);
  EXPECT_EQ(std::count(orders.begin() + 7, orders.end(), orders[0]), 3);
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(60)));
}

TEST_F(StagingTest, WhatIsReadInPlaceWaitsForNoStagingMemory) {
  FakeGpu same("0000:02:00.0");
  TestDecode apart({.backend = &far_}), together({.backend = &same});
  TestPrefill prefill(Little());
  near_.Shut();
  const absl::Cleanup open = [this] { near_.Open(); };
  const Prompt first(prefill, apart, 8);
  ASSERT_TRUE(near_.AwaitOrder());
  const Prompt second(prefill, apart, kPageTokens + 1);
  ASSERT_TRUE(AwaitPrompts(prefill, 2));
  const Golden golden = TinyGolden("who");
  const Answer answer = Ask(prefill, together,
                            {.prompt = golden.prompt,
                             .max_tokens = static_cast<int>(golden.answer.size()),
                             .sampling = Greedy()});
  EXPECT_EQ(answer.tokens, golden.answer) << answer.status;
  EXPECT_EQ(near_.orders().size(), 1U) << "the gate is shut";
  near_.Open();
}

TEST_F(StagingTest, APromptLongerThanAllStagingMemoryIsNotToBeTriedAgain) {
  FakeGpu same("0000:02:00.0");
  TestDecode apart({.backend = &far_}), together({.backend = &same});
  TestPrefill prefill(Little());
  const Question question{.prompt = std::vector<int32_t>(2 * kPageTokens + 1, 7),
                          .max_tokens = 2,
                          .sampling = Greedy()};
  const absl::Status status = Ask(prefill, apart, question).status;
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  const ErrorDetails details = DetailsOf(status);
  ASSERT_EQ(details.info.reason(), "PROMPT_TOO_LONG");
  EXPECT_EQ(details.info.metadata().at("limit"), "512");
  EXPECT_EQ(details.info.metadata().at("got"), "513");
  EXPECT_FALSE(details.retry.has_retry_delay());
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("staging_pages"));
  const Answer in_place = Ask(prefill, together, question);
  EXPECT_TRUE(in_place.status.ok()) << in_place.status;
}

}  // namespace
}  // namespace tandem
