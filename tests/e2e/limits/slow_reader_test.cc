// SPDX-License-Identifier: Apache-2.0
// Goal: a client that stops reading loses its own answer and nothing else: its stream ends with
// SLOW_READER after right tokens, the workers' memory comes back while it still does not read, and
// others are answered as ever. Method: one client that stops after its first tokens, others beside
// it, through three processes.
#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/exposition.h"

namespace tandem {
namespace {

constexpr int kKept = 64;  // tokens that wait in the router
// Its log-probabilities make every message large: what gRPC itself holds is soon full.
constexpr uint32_t kLogprobs = 20;
constexpr uint32_t kLong = 20'000;  // tokens: nobody waits for their end

v1::GenerateRequest LongRequest(uint32_t tokens) {
  v1::GenerateRequest request = GreedyRequest({0, 5, 9}, tokens);
  request.set_ignore_eos(true);
  request.set_logprobs(kLogprobs);
  return request;
}

// With the window that HTTP/2 begins with: a C++ client takes in 16 MB unread before anybody can
// notice.
std::unique_ptr<v1::InferenceService::Stub> SmallWindowClient(const Cluster& cluster) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return v1::InferenceService::NewStub(grpc::CreateCustomChannel(
      cluster.endpoint("router"), grpc::InsecureChannelCredentials(), arguments));
}

class SlowReaderTest : public ::testing::Test {
 protected:
  SlowReaderTest() : cluster_({.router_extra = absl::StrCat("stream_tokens_max: ", kKept)}) {}
  void SetUp() override { ASSERT_TRUE(cluster_.WaitReady(absl::Seconds(60)).ok()); }

  // Reads a little and then nothing until it may go on.
  class Client {
   public:
    explicit Client(const Cluster& cluster)
        : stub_(SmallWindowClient(cluster)),
          thread_(std::make_unique<Thread>("slow-reader", [this] {
            outcome_ = Generate(*stub_, LongRequest(kLong), {.cancel_when = [this](int tokens) {
              if (tokens > 0) may_read_.WaitForNotification();
              return false;
            }});
          })) {}
    ~Client() {
      if (!may_read_.HasBeenNotified()) may_read_.Notify();
    }
    const Outcome& ReadOn() {
      may_read_.Notify();
      thread_.reset();
      return outcome_;
    }

   private:
    const std::unique_ptr<v1::InferenceService::Stub> stub_;
    absl::Notification may_read_;
    Outcome outcome_;
    std::unique_ptr<Thread> thread_;
  };

  // The router's log tells when it has given a client up.
  bool AwaitGivenUp() const {
    for (int i = 0; i < 1500; ++i) {
      if (cluster_.log("router").find("SLOW_READER") != std::string::npos) return true;
      absl::SleepFor(absl::Milliseconds(100));
    }
    return false;
  }

  double Backpressure() const {
    const auto metrics = ScrapeMetrics(cluster_.metrics_endpoint("router"));
    EXPECT_TRUE(metrics.ok()) << metrics.status();
    return metrics.ok() ? metrics->Sum("tandem_stream_backpressure_seconds_total") : 0;
  }

  Cluster cluster_;
};

TEST_F(SlowReaderTest, LosesItsAnswerAndNobodyElseNotices) {
  std::ifstream file(TANDEM_SOURCE_DIR "/tests/golden/model/golden_tiny.json");
  const nlohmann::json golden = nlohmann::json::parse(file).at("cases").at("who");
  std::vector<uint32_t> answer;
  for (const auto& step : golden.at("decode")) answer.push_back(step.at("token").get<uint32_t>());
  v1::GenerateRequest other = GreedyRequest(golden.at("prompt"), answer.size());
  other.set_ignore_eos(true);
  const Outcome undisturbed = Generate(*cluster_.NewClient(), LongRequest(100));
  ASSERT_TRUE(undisturbed.status.ok()) << undisturbed.status;

  Client slow(cluster_);
  std::atomic<bool> over = false;
  int answered = 0;
  {
    Thread others("others", [&] {
      const auto client = cluster_.NewClient();
      while (!over) {
        const Outcome outcome = Generate(*client, other);
        EXPECT_TRUE(outcome.status.ok()) << outcome.status;
        EXPECT_EQ(outcome.only().tokens, answer);
        ++answered;
      }
    });
    EXPECT_TRUE(AwaitGivenUp());
    over = true;
  }
  EXPECT_GT(answered, 3);
  EXPECT_GT(Backpressure(), 0);
  // It has not read on yet, and holds nothing but its call.
  const absl::Status free = cluster_.WaitAllFree("decode-0", absl::Seconds(10));
  EXPECT_TRUE(free.ok()) << free;

  const Outcome& outcome = slow.ReadOn();
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kResourceExhausted) << outcome.status;
  EXPECT_EQ(ReasonOf(outcome.status), "SLOW_READER");
  EXPECT_TRUE(DetailsOf(outcome.status).retry.has_retry_delay());
  EXPECT_TRUE(outcome.broken_promises.empty()) << outcome.broken_promises.front();
  const std::vector<uint32_t>& got = outcome.only().tokens;
  std::cout << answered << " others were answered; the slow reader was given up with " << got.size()
            << " tokens on their way\n";
  ASSERT_GE(got.size(), 1U);
  EXPECT_LT(got.size(), kLong);
  for (size_t i = 0; i < std::min(got.size(), undisturbed.only().tokens.size()); ++i)
    ASSERT_EQ(got[i], undisturbed.only().tokens[i]) << i;
}

TEST_F(SlowReaderTest, DoesNotHoldUpTheRoutersEnd) {
  Client slow(cluster_);
  ASSERT_TRUE(AwaitGivenUp());
  EXPECT_EQ(cluster_.Terminate("router", absl::Seconds(15)), 0) << cluster_.log("router");
  EXPECT_FALSE(slow.ReadOn().status.ok());
  const absl::Status free = cluster_.WaitAllFree("decode-0", absl::Seconds(10));
  EXPECT_TRUE(free.ok()) << free;
}

}  // namespace
}  // namespace tandem
