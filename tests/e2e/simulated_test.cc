// SPDX-License-Identifier: Apache-2.0
// Goal: the three programs on the simulated engine: every answer is what the rule says
// (services/runtime/engine/sim/sim_engine.h), so no stream ever sees another's prompt, over either
// channel, and all memory is free at the end. Method: 64 streams at once, each a prompt of its own
// ids, three rounds, so that slots and pages are used again.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

constexpr int kStreams = 64;
constexpr int kRounds = 3;

// Different for every stream and round, on both sides of the window and of ratio 128; with BOS.
std::vector<uint32_t> PromptOf(int stream, int round) {
  std::vector<uint32_t> ids = {0};
  const int tokens = 1 + (stream * 37 + round * 11) % 180;
  for (int i = 0; i < tokens; ++i) ids.push_back(3 + (stream * 29 + round * 101 + i * 7) % 1800);
  return ids;
}

std::vector<uint32_t> AnswerTo(const std::vector<uint32_t>& prompt, size_t tokens) {
  std::vector<uint32_t> out;
  while (out.size() < tokens) out.push_back(prompt[1 + out.size() % (prompt.size() - 1)]);
  return out;
}

class SimulatedTest : public ::testing::TestWithParam<const char*> {};

TEST_P(SimulatedTest, EveryStreamRepeatsItsOwnPrompt) {
  Cluster cluster({.prefill_extra = absl::StrCat("kv_channel_kind: KV_CHANNEL_KIND_", GetParam(),
                                                 " kv_channel: KV_CHANNEL_POLICY_STRICT"),
                   .worker_extra = "engine: ENGINE_SIM sim { prefill_step { nanos: 1000000 } "
                                   "decode_step { nanos: 5000000 } }"});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok());
  const auto client = cluster.NewClient();
  {
    std::vector<std::unique_ptr<Thread>> streams;
    for (int stream = 0; stream < kStreams; ++stream) {
      streams.push_back(std::make_unique<Thread>("stream", [&, stream] {
        for (int round = 0; round < kRounds; ++round) {
          const std::vector<uint32_t> prompt = PromptOf(stream, round);
          const size_t tokens = 20 + static_cast<size_t>(stream);
          const Outcome outcome =
              Generate(*client, GreedyRequest(prompt, static_cast<uint32_t>(tokens)));
          ASSERT_TRUE(outcome.status.ok()) << outcome.status;
          EXPECT_TRUE(outcome.broken_promises.empty());
          EXPECT_EQ(outcome.only().tokens, AnswerTo(prompt, tokens)) << stream << " " << round;
          EXPECT_EQ(outcome.only().finished.reason(), v1::FINISH_REASON_LENGTH);
        }
      }));
    }
  }
  const absl::Status free = cluster.WaitAllFree("decode-0", absl::Seconds(10));
  EXPECT_TRUE(free.ok()) << free;
  EXPECT_EQ(cluster.log("decode-0").find("sim-prompt-lost"), std::string::npos);
}

// A first token takes Reserve, the link's begin and its end: three visits to the decode worker,
// whose step lasts longer than all of this may.
TEST(SimulatedStepTest, AFirstTokenDoesNotWaitForARunningStep) {
  Cluster cluster({.worker_extra = "engine: ENGINE_SIM sim { decode_step { seconds: 4 } }"});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok());
  const auto client = cluster.NewClient();
  Outcome other;
  // The first stream's step runs; it ends with its caller, and the other one is asked in between.
  const Outcome first =
      Generate(*client, GreedyRequest({7, 8, 9}, 50), {.cancel_when = [&](int tokens) {
        if (tokens < 1) return false;
        // Until the step has begun.
        absl::SleepFor(absl::Milliseconds(300));
        other = Generate(*client, GreedyRequest({5, 6}, 1));
        return true;
      }});
  EXPECT_EQ(first.status.code(), absl::StatusCode::kCancelled) << first.status;
  ASSERT_TRUE(other.status.ok()) << other.status;
  EXPECT_EQ(other.only().tokens, (std::vector<uint32_t>{5}));
  EXPECT_LT(other.took, absl::Seconds(3));
  // The cancelled sequence is in the engine's hands until its step is over.
  const absl::Status free = cluster.WaitAllFree("decode-0", absl::Seconds(20));
  EXPECT_TRUE(free.ok()) << free;
}

class LongPromptTest : public ::testing::TestWithParam<const char*> {};

// Three seconds of reading, three times what a lease lasts that nobody takes up; the other prompt
// waits meanwhile.
TEST_P(LongPromptTest, APromptMayTakeLongerThanALease) {
  Cluster cluster(
      {.prefill_extra = absl::StrCat("chunk_tokens: 1 kv_channel: ", "KV_CHANNEL_POLICY_STRICT ",
                                     "kv_channel_kind: KV_CHANNEL_KIND_", GetParam()),
       .decode_extra = "lease_ttl { seconds: 1 }",
       .worker_extra = "engine: ENGINE_SIM sim { prefill_step { nanos: 20000000 } "
                       "decode_step { nanos: 1000000 } }"});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok());
  {
    std::vector<std::unique_ptr<Thread>> streams;
    for (int stream = 0; stream < 2; ++stream) {
      streams.push_back(std::make_unique<Thread>("stream", [&, stream] {
        const auto client = cluster.NewClient();
        std::vector<uint32_t> prompt = {0};
        for (int i = 1; i < 150; ++i) prompt.push_back(3 + stream * 200 + i);
        Outcome outcome;
        // On a busy machine a second may pass between two calls of a request: that lease is lost.
        for (int tries = 0; tries == 0 || (tries < 4 && !outcome.status.ok()); ++tries)
          outcome = Generate(*client, GreedyRequest(prompt, 5));
        ASSERT_TRUE(outcome.status.ok()) << outcome.status;
        EXPECT_EQ(outcome.only().tokens, AnswerTo(prompt, 5));
        EXPECT_GT(outcome.took, absl::Seconds(2));
      }));
    }
  }
  const absl::Status free = cluster.WaitAllFree("decode-0", absl::Seconds(10));
  EXPECT_TRUE(free.ok()) << free;
}

INSTANTIATE_TEST_SUITE_P(Channels, LongPromptTest, ::testing::Values("SHARED", "GRPC"),
                         [](const auto& info) { return std::string(info.param); });

INSTANTIATE_TEST_SUITE_P(Channels, SimulatedTest, ::testing::Values("SHARED", "IPC", "GRPC"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tandem
