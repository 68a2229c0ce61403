// SPDX-License-Identifier: Apache-2.0
// Goal: a router that lists no worker answers by those that register; one that is killed is dropped
// within the limit, one that drains at once and without a stream lost; a new router knows them all
// again. Method: the three programs, two decode workers, killed and restarted.
#include <atomic>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

using testing::HasSubstr;

constexpr char kSim[] =
    "engine: ENGINE_SIM sim { decode_step { nanos: 20000000 } decode_sequence { nanos: 1 } } ";

class RegistrationTest : public testing::Test {
 protected:
  RegistrationTest()
      : cluster_({.one_layer = true,
                  .decodes = 2,
                  .registered = true,
                  .router_extra = "drain_timeout { seconds: 5 }",
                  .worker_extra = kSim}) {}

  // The last `workers` line of the router since it was started.
  bool RouterSays(const std::string& text, absl::Duration limit) {
    const absl::Time end = absl::Now() + limit;
    do {
      const std::string log = cluster_.log("router");
      const size_t at = log.rfind(" workers prefill=");
      if (at != std::string::npos && absl::StartsWith(log.substr(at + 9), text)) return true;
      absl::SleepFor(absl::Milliseconds(20));
    } while (absl::Now() < end);
    return false;
  }

  Cluster cluster_;
};

TEST_F(RegistrationTest, WhoIsKilledIsDroppedAndARouterLearnsAllAgain) {
  ASSERT_TRUE(cluster_.WaitReady(absl::Seconds(60)).ok());
  ASSERT_TRUE(RouterSays("prefill=1 decode=2", absl::Seconds(20))) << cluster_.log("router");

  cluster_.Kill("decode-1");
  const absl::Time killed = absl::Now();
  while (!absl::StrContains(cluster_.log("router"), " worker_dropped kind=decode")) {
    ASSERT_LT(absl::Now() - killed, kWorkerTtl + absl::Seconds(5)) << cluster_.log("router");
    absl::SleepFor(absl::Milliseconds(20));
  }
  // Its last beat may have been a while ago.
  EXPECT_GT(absl::Now() - killed, kWorkerTtl / 4);
  EXPECT_TRUE(cluster_.WaitReady(absl::Seconds(10)).ok()) << "by the other";
  cluster_.Start("decode-1");
  EXPECT_TRUE(RouterSays("prefill=1 decode=2", absl::Seconds(30))) << cluster_.log("router");

  cluster_.Kill("router");
  cluster_.Start("router");
  EXPECT_TRUE(cluster_.WaitReady(absl::Seconds(20)).ok());
  EXPECT_TRUE(RouterSays("prefill=1 decode=2", absl::Seconds(20))) << cluster_.log("router");
}

TEST_F(RegistrationTest, WhoDrainsSaysSoAndFinishes) {
  ASSERT_TRUE(cluster_.WaitReady(absl::Seconds(60)).ok());
  ASSERT_TRUE(RouterSays("prefill=1 decode=2", absl::Seconds(20)));
  const auto client = cluster_.NewClient();
  constexpr uint32_t kTokens = 100;  // 2 s
  std::vector<Outcome> outcomes(8);
  std::atomic<int> begun = 0;
  {
    std::vector<std::unique_ptr<Thread>> streams;
    for (Outcome& outcome : outcomes) {
      streams.push_back(std::make_unique<Thread>("stream", [&] {
        bool counted = false;
        outcome =
            Generate(*client, GreedyRequest({5, 6, 7}, kTokens), {.cancel_when = [&](int tokens) {
              if (tokens > 0 && !std::exchange(counted, true)) ++begun;
              return false;
            }});
      }));
    }
    while (begun < 8) absl::SleepFor(absl::Milliseconds(5));
    EXPECT_EQ(cluster_.Terminate("decode-1", absl::Seconds(20)), 0);
  }
  for (const Outcome& outcome : outcomes) {
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.only().tokens.size(), kTokens);
  }
  EXPECT_THAT(cluster_.log("router"), HasSubstr(" worker_left kind=decode"));
  EXPECT_THAT(cluster_.log("router"), testing::Not(HasSubstr(" worker_dropped ")));
}

}  // namespace
}  // namespace tandem
