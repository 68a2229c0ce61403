// SPDX-License-Identifier: Apache-2.0
// Goal: a prompt that ends while a step computes it, by a cancel or with its decode worker, holds
// up nobody until the step is over, and keeps its memory until then. Method: both workers in this
// process, an engine whose steps end when they are let.
#include <memory>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/workers/gated_engine.h"
#include "tests/e2e/workers/test_workers.h"

namespace tandem {
namespace {

Question AskFor(const Golden& golden) {
  return {.prompt = golden.prompt,
          .max_tokens = static_cast<int>(golden.answer.size()),
          .sampling = Greedy()};
}

class EarlyEndTest : public testing::TestWithParam<v1::KvChannelKind> {
 protected:
  // With no memory to lose: one prompt's.
  TestPrefill::Options Gated() {
    return {.staging_pages = 1,
            .staging_slots = 1,
            .preferred = GetParam(),
            .engine = [this](std::unique_ptr<Engine> engine) {
              return std::make_unique<GatedEngine>(std::move(engine), gate_);
            }};
  }
  StepGate gate_;
  const Golden golden_ = TinyGolden("who");
};

TEST_P(EarlyEndTest, ACancelInAStepKeepsNobodyWaiting) {
  TestDecode decode({});
  TestPrefill prefill(Gated());
  const absl::Cleanup open = [this] { gate_.Open(); };
  ASSERT_EQ(Ask(prefill, decode, AskFor(golden_)).tokens, golden_.answer);
  const auto reservation = Reserve(decode, static_cast<int>(golden_.prompt.size()));
  ASSERT_TRUE(reservation.ok());
  gate_.Shut();
  SentPrompt standing(prefill, golden_, *reservation);
  ASSERT_TRUE(gate_.AwaitStep());
  standing.Cancel();
  EXPECT_EQ(standing.End().code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(Release(decode, *reservation).ok());
  EXPECT_TRUE(LoopAnswers(prefill));
  if (GetParam() == v1::KV_CHANNEL_KIND_SHARED) {
    EXPECT_FALSE(decode.AllFreeWithin(absl::Milliseconds(100))) << "the step may still write";
  }
  gate_.Open();
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(60)));
  EXPECT_EQ(Ask(prefill, decode, AskFor(golden_)).tokens, golden_.answer);
}

TEST_P(EarlyEndTest, ADecodeWorkerThatGoesInAStepKeepsNobodyWaiting) {
  auto decode = std::make_unique<TestDecode>(TestDecode::Options{});
  TestDecode other({});
  TestPrefill prefill(Gated());
  const absl::Cleanup open = [this] { gate_.Open(); };
  ASSERT_EQ(Ask(prefill, *decode, AskFor(golden_)).tokens, golden_.answer);
  const auto reservation = Reserve(*decode, static_cast<int>(golden_.prompt.size()));
  ASSERT_TRUE(reservation.ok());
  gate_.Shut();
  SentPrompt standing(prefill, golden_, *reservation);
  ASSERT_TRUE(gate_.AwaitStep());
  decode.reset();
  EXPECT_TRUE(LoopAnswers(prefill));
  // Now it writes into what was the pool.
  gate_.Open();
  const absl::Status lost = standing.End();
  EXPECT_EQ(ReasonOf(lost), "WORKER_LOST") << lost;
  EXPECT_EQ(Ask(prefill, other, AskFor(golden_)).tokens, golden_.answer);
  EXPECT_TRUE(other.AllFreeWithin(absl::Seconds(60)));
}

TEST_P(EarlyEndTest, AWorkerThatStopsInAStepWaitsForIt) {
  TestDecode decode({});
  auto prefill = std::make_unique<TestPrefill>(Gated());
  const auto reservation = Reserve(decode, static_cast<int>(golden_.prompt.size()));
  ASSERT_TRUE(reservation.ok());
  gate_.Shut();
  SentPrompt standing(*prefill, golden_, *reservation);
  ASSERT_TRUE(gate_.AwaitStep());
  standing.Cancel();
  EXPECT_TRUE(LoopAnswers(*prefill));
  gate_.Open();
  prefill.reset();
  EXPECT_EQ(standing.End().code(), absl::StatusCode::kCancelled);
}

INSTANTIATE_TEST_SUITE_P(Kinds, EarlyEndTest,
                         testing::Values(v1::KV_CHANNEL_KIND_SHARED, v1::KV_CHANNEL_KIND_GRPC),
                         [](const auto& kind) {
                           return std::string(kind.param == v1::KV_CHANNEL_KIND_SHARED ? "InPlace"
                                                                                       : "AsBytes");
                         });

}  // namespace
}  // namespace tandem
