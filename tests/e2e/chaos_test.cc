// SPDX-License-Identifier: Apache-2.0
// Goal: whatever process dies at whatever moment, no request outlives its deadline, no wrong token
// is delivered, and after the restart all pages are free. Method: 200 requests of random kind
// (plain, cancelled midway, short deadline) against known greedy answers, while processes are
// killed and restarted at random; every delivered token is compared.
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/runtime/base/thread.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

constexpr int kRequests = 200;
// At least, however fast the machine answers.
constexpr int kKills = 4;
constexpr int kStreams = 8;
// A stream may end this long after its deadline: scheduling on a loaded machine.
constexpr absl::Duration kGrace = absl::Seconds(2);
constexpr absl::Duration kAnswerPatience = absl::Seconds(10);

struct Known {
  std::vector<uint32_t> prompt;
  std::vector<uint32_t> answer;
};

std::vector<Known> KnownAnswers() {
  std::ifstream file(TANDEM_SOURCE_DIR "/tests/golden/model/golden_tiny.json");
  const nlohmann::json cases = nlohmann::json::parse(file).at("cases");
  std::vector<Known> out;
  for (const auto& golden : cases) {
    Known known{.prompt = golden.at("prompt"), .answer = {}};
    for (const auto& step : golden.at("decode")) known.answer.push_back(step.at("token"));
    out.push_back(std::move(known));
  }
  return out;
}

struct Tally {
  std::atomic<int> complete = 0;
  std::atomic<int> ended_early = 0;   // with an error, as they should when a process dies
  std::atomic<int> not_accepted = 0;  // somebody was not there; does not count towards the 200
  int counted() const { return complete + ended_early; }
  std::atomic<int> wrong = 0;
  std::atomic<int> late = 0;
};

// One request; what it delivered must be a prefix of the known answer, the whole of it if the
// status is OK.
void AskOnce(v1::InferenceService::Stub& client, const Known& known, std::mt19937& random,
             Tally& tally) {
  const absl::Duration deadline =
      random() % 5 == 0 ? absl::Milliseconds(20 + random() % 200) : absl::Seconds(20);
  const int cancel_at = random() % 5 == 0 ? static_cast<int>(random() % known.answer.size()) : 1000;
  v1::GenerateRequest request = GreedyRequest(known.prompt, known.answer.size());
  request.set_ignore_eos(true);
  const Outcome outcome = Generate(
      client, request,
      {.deadline = deadline, .cancel_when = [&](int tokens) { return tokens >= cancel_at; }});
  if (outcome.took > deadline + kGrace) ++tally.late;
  if (!outcome.broken_promises.empty()) {
    ADD_FAILURE() << outcome.broken_promises.front() << ", status " << outcome.status;
  }
  const std::vector<uint32_t> got =
      outcome.choices.empty() ? std::vector<uint32_t>() : outcome.only().tokens;
  const bool prefix =
      got.size() <= known.answer.size() && std::equal(got.begin(), got.end(), known.answer.begin());
  if (!prefix || (outcome.status.ok() && got.size() != known.answer.size())) {
    ++tally.wrong;
    ADD_FAILURE() << got.size() << " tokens, wrong or too few; status " << outcome.status;
  }
  if (outcome.request_id.empty()) {
    ++tally.not_accepted;
    return;
  }
  ++(outcome.status.ok() ? tally.complete : tally.ended_early);
}

void RunChaos(const std::string& prefill_extra, uint32_t seed) {
  const std::vector<Known> known = KnownAnswers();
  Cluster cluster({.prefills = 2,
                   .decodes = 2,
                   .prefill_extra = prefill_extra,
                   .decode_extra = "lease_ttl { seconds: 5 }"});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok());
  Tally tally;
  std::atomic<bool> over = false;
  std::atomic<int> kills = 0;
  {
    std::vector<std::unique_ptr<Thread>> streams;
    for (int i = 0; i < kStreams; ++i) {
      streams.push_back(std::make_unique<Thread>("stream", [&, i] {
        std::mt19937 random(seed + i);
        const auto client = cluster.NewClient();
        while (tally.counted() < kRequests || kills < kKills) {
          AskOnce(*client, known[random() % known.size()], random, tally);
          absl::SleepFor(absl::Milliseconds(random() % 50));
        }
        over = true;
      }));
    }
    // The main thread is the only one that touches processes.
    std::mt19937 random(seed);
    const std::vector<std::string> names = cluster.names();
    while (!over) {
      // A slow machine needs longer to get anything done between two deaths: some answer comes
      // first, or this would only test that nobody answers.
      const int complete = tally.complete;
      absl::SleepFor(absl::Milliseconds(200 + random() % 1500));
      const absl::Time patience = absl::Now() + kAnswerPatience;
      while (!over && tally.complete == complete && absl::Now() < patience) {
        absl::SleepFor(absl::Milliseconds(20));
      }
      const std::string& victim = names[random() % names.size()];
      cluster.Kill(victim);
      ++kills;
      absl::SleepFor(absl::Milliseconds(random() % 200));
      cluster.Start(victim);
    }
  }
  std::cout << "seed " << seed << ": " << kills << " kills; " << tally.complete << " complete, "
            << tally.ended_early << " ended early, " << tally.not_accepted << " not accepted, "
            << tally.wrong << " wrong, " << tally.late << " late\n";
  EXPECT_GE(kills, kKills);
  EXPECT_EQ(tally.wrong, 0);
  EXPECT_EQ(tally.late, 0);
  EXPECT_GT(tally.complete, kRequests / 20);
  const absl::Status ready = cluster.WaitReady(absl::Seconds(30));
  EXPECT_TRUE(ready.ok()) << ready;
  for (const char* decode : {"decode-0", "decode-1"}) {
    const absl::Status free = cluster.WaitAllFree(decode, absl::Seconds(90));
    EXPECT_TRUE(free.ok()) << free << "\n" << cluster.log(decode);
  }
}

TEST(ChaosTest, NothingIsWrongLateOrLostOverSharedMemory) {
  RunChaos("", 20261122);
}

TEST(ChaosTest, NothingIsWrongLateOrLostOverCopies) {
  RunChaos("kv_channel_kind: KV_CHANNEL_KIND_IPC chunk_tokens: 64", 1126);
}

TEST(ChaosTest, NothingIsWrongLateOrLostOverBytes) {
  RunChaos("kv_channel_kind: KV_CHANNEL_KIND_GRPC chunk_tokens: 32", 4711);
}

// A stopped process is the hard case: its connections stand, and when it goes on it may still
// write.
TEST(ChaosTest, AStoppedPrefillWorkerCannotHurtAnybodyWhenItGoesOn) {
  const std::vector<Known> known = KnownAnswers();
  Cluster cluster({.prefills = 2,
                   .prefill_extra = "chunk_tokens: 1",
                   .decode_extra = "lease_ttl { seconds: 1 }"});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok());
  Tally tally;
  {
    std::vector<std::unique_ptr<Thread>> streams;
    for (int i = 0; i < kStreams; ++i) {
      streams.push_back(std::make_unique<Thread>("stream", [&, i] {
        std::mt19937 random(i);
        const auto client = cluster.NewClient();
        for (int k = 0; k < 5; ++k) AskOnce(*client, known[random() % known.size()], random, tally);
      }));
    }
    for (int k = 0; k < 3; ++k) {
      absl::SleepFor(absl::Milliseconds(300));
      cluster.Signal("prefill-0", SIGSTOP);
      absl::SleepFor(absl::Seconds(2));
      cluster.Signal("prefill-0", SIGCONT);
    }
  }
  EXPECT_EQ(tally.wrong, 0);
  const absl::Status free = cluster.WaitAllFree("decode-0", absl::Seconds(60));
  EXPECT_TRUE(free.ok()) << free;
}

}  // namespace
}  // namespace tandem
