// SPDX-License-Identifier: Apache-2.0
// Goal: who is not admitted, or not yet, is told as documented and leaves nothing behind, however
// the wait ends; who has been admitted does not notice. Method: three processes with little memory;
// pages, slots, staging and turns all taken by one request, or a decode worker that hangs; others
// are refused, cancelled by their client or by id, or run out of time.
#include <signal.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

constexpr int kPage = 256;  // tokens

v1::GenerateRequest RequestOf(uint32_t answer_tokens) {
  v1::GenerateRequest request = GreedyRequest({0, 5}, answer_tokens);
  request.set_ignore_eos(true);
  return request;
}

// One call on a thread of its own.
class Call {
 public:
  Call(const Cluster& cluster, v1::GenerateRequest request, CallOptions options = {})
      : stub_(cluster.NewClient()),
        thread_(std::make_unique<Thread>("call", [this, request = std::move(request),
                                                  options = std::move(options)] {
          CallOptions watched = options;
          watched.cancel_when = [this, &options](int tokens) {
            // The first event is "accepted".
            if (!accepted_.HasBeenNotified()) accepted_.Notify();
            if (tokens > 0 && !answering_.HasBeenNotified()) answering_.Notify();
            return gone_.HasBeenNotified() || (options.cancel_when && options.cancel_when(tokens));
          };
          outcome_ = Generate(*stub_, request, watched);
        })) {}

  bool AwaitAccepted() { return accepted_.WaitForNotificationWithTimeout(absl::Seconds(60)); }
  bool AwaitAnswer() { return answering_.WaitForNotificationWithTimeout(absl::Seconds(60)); }
  bool answering() const { return answering_.HasBeenNotified(); }
  // The client goes away at the next event.
  void GoAway() { gone_.Notify(); }
  const Outcome& Join() {
    thread_.reset();
    return outcome_;
  }

 private:
  const std::unique_ptr<v1::InferenceService::Stub> stub_;
  absl::Notification accepted_;
  absl::Notification answering_;
  absl::Notification gone_;
  Outcome outcome_;
  std::unique_ptr<Thread> thread_;
};

void CancelById(const Cluster& cluster, const std::string& id) {
  grpc::ClientContext context;
  v1::CancelRequest request;
  request.set_request_id(id);
  v1::CancelResponse response;
  EXPECT_TRUE(cluster.NewClient()->Cancel(&context, request, &response).ok());
  EXPECT_TRUE(response.found()) << id;
}

void ExpectAllFree(const Cluster& cluster, absl::Duration limit = absl::Seconds(10)) {
  const absl::Status free = cluster.WaitAllFree("decode-0", limit);
  EXPECT_TRUE(free.ok()) << free;
}

void ExpectRefused(const Outcome& outcome, const std::string& said) {
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kResourceExhausted) << outcome.status;
  EXPECT_EQ(ReasonOf(outcome.status), "KV_BUDGET");
  EXPECT_THAT(std::string(outcome.status.message()), HasSubstr(said));
  EXPECT_TRUE(DetailsOf(outcome.status).retry.has_retry_delay());
  EXPECT_TRUE(outcome.request_id.empty()) << "accepted, and then no room";
  EXPECT_LT(outcome.took, absl::Seconds(3));
}

// After a refusal. The router hears of room as this test does, but perhaps a moment later: until
// then it does not ask the worker.
Outcome GenerateOnceRoomIsKnown(v1::InferenceService::Stub& client,
                                const v1::GenerateRequest& request,
                                const CallOptions& options = {}) {
  const absl::Time limit = absl::Now() + absl::Seconds(10);
  Outcome outcome = Generate(client, request, options);
  while (absl::StrContains(outcome.status.message(), "no decode worker has room") &&
         absl::Now() < limit) {
    absl::SleepFor(absl::Milliseconds(20));
    outcome = Generate(client, request, options);
  }
  return outcome;
}

TEST(AdmissionTest, AFullPoolRefusesAtOnceAndWhatFitsIsServed) {
  const Cluster cluster({});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok());
  const auto client = cluster.NewClient();
  Call holder(cluster, RequestOf((kDecodePages - 2) * kPage - 2));
  ASSERT_TRUE(holder.AwaitAnswer());
  ExpectRefused(Generate(*client, RequestOf(2 * kPage)),
                absl::StrCat("3 asked for, 2 of ", kDecodePages, " are free"));
  const Outcome small = Generate(*client, RequestOf(20));
  EXPECT_TRUE(small.status.ok()) << small.status;
  holder.GoAway();
  EXPECT_EQ(holder.Join().status.code(), absl::StatusCode::kCancelled);
  ExpectAllFree(cluster);
  // What was refused has its room now.
  const Outcome again = GenerateOnceRoomIsKnown(
      *client, RequestOf(2 * kPage), {.cancel_when = [](int tokens) { return tokens > 0; }});
  EXPECT_EQ(again.status.code(), absl::StatusCode::kCancelled) << again.status;
  ExpectAllFree(cluster);
}

TEST(AdmissionTest, ChoicesGetTheirSlotsTogetherOrNotAtAll) {
  const Cluster cluster({.decode_extra = "slots: 4"});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok());
  const auto client = cluster.NewClient();
  v1::GenerateRequest request = RequestOf(20);
  request.mutable_sampling()->set_n(5);
  ExpectRefused(Generate(*client, request), "sequence slots: all 4 are taken");
  ExpectAllFree(cluster);
  request.mutable_sampling()->set_n(4);
  const Outcome outcome = GenerateOnceRoomIsKnown(*client, request);
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.choices.size(), 4U);
  ExpectAllFree(cluster);
}

class WaitingTest : public ::testing::TestWithParam<std::string> {};

TEST_P(WaitingTest, InPrefillEndsAtOnceAndLeavesTheOthersAlone) {
  // One token a step: the long prompt is read for 4 s or more, however fast the machine is, and all
  // that time the others wait for their turn or, as bytes, for the one staging slot.
  const Cluster cluster(
      {.prefill_extra = absl::StrCat("chunk_tokens: 1 staging_slots: 1 ",
                                     "kv_channel_kind: KV_CHANNEL_KIND_", GetParam()),
       .worker_extra = "engine: ENGINE_SIM sim { prefill_step { nanos: 10000000 } "
                       "decode_step { nanos: 1000000 } }"});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok());
  std::vector<uint32_t> prompt = {0};
  while (prompt.size() < 400) prompt.push_back(3 + prompt.size());
  // The simulated engine repeats what comes after BOS.
  const std::vector<uint32_t> answer(prompt.begin() + 1, prompt.begin() + 31);
  Call reader(cluster, GreedyRequest(prompt, answer.size()));
  ASSERT_TRUE(reader.AwaitAccepted());

  Call left(cluster, RequestOf(20), {.cancel_when = [](int) { return true; }});
  Call late(cluster, RequestOf(20), {.deadline = absl::Milliseconds(400)});
  v1::GenerateRequest named = RequestOf(20);
  named.set_request_id("waits");
  Call cancelled(cluster, named);
  Call patient(cluster, RequestOf(20));
  ASSERT_TRUE(cancelled.AwaitAccepted());
  CancelById(cluster, "waits");

  EXPECT_EQ(left.Join().status.code(), absl::StatusCode::kCancelled) << left.Join().status;
  EXPECT_TRUE(cancelled.Join().status.ok()) << cancelled.Join().status;
  EXPECT_EQ(cancelled.Join().only().finished.reason(), v1::FINISH_REASON_CANCELLED);
  EXPECT_EQ(late.Join().status.code(), absl::StatusCode::kDeadlineExceeded) << late.Join().status;
  EXPECT_LT(late.Join().took, absl::Seconds(2));
  for (Call* waited : {&left, &cancelled, &late}) EXPECT_FALSE(waited->answering());
  EXPECT_FALSE(reader.answering()) << "the long prompt was too short for this test";

  EXPECT_TRUE(reader.Join().status.ok()) << reader.Join().status;
  EXPECT_EQ(reader.Join().only().tokens, answer);
  EXPECT_TRUE(patient.Join().status.ok()) << patient.Join().status;
  ExpectAllFree(cluster);
}

INSTANTIATE_TEST_SUITE_P(Channels, WaitingTest, ::testing::Values("SHARED", "GRPC"),
                         [](const auto& info) { return info.param; });

TEST(AdmissionTest, AReserveThatHangsEndsInTimeAndHoldsNothingLater) {
  const Cluster cluster({.decode_extra = "lease_ttl { seconds: 5 }"});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok());
  cluster.Signal("decode-0", SIGSTOP);
  v1::GenerateRequest named = RequestOf(20);
  named.set_request_id("hangs");
  Call cancelled(cluster, named);
  Call late(cluster, RequestOf(20), {.deadline = absl::Seconds(1)});
  Call lost(cluster, RequestOf(20));
  EXPECT_EQ(late.Join().status.code(), absl::StatusCode::kDeadlineExceeded) << late.Join().status;
  EXPECT_LT(late.Join().took, absl::Seconds(3));
  CancelById(cluster, "hangs");
  // A grant may be on its way: it is waited for, as long as Reserve may take.
  EXPECT_EQ(cancelled.Join().status.code(), absl::StatusCode::kCancelled)
      << cancelled.Join().status;
  EXPECT_LT(cancelled.Join().took, absl::Seconds(8));
  EXPECT_EQ(ReasonOf(lost.Join().status), "WORKER_LOST") << lost.Join().status;
  cluster.Signal("decode-0", SIGCONT);
  // Mostly at once: a call that was given up is taken back. But the worker may answer it before it
  // reads so, and then nobody knows of the lease; it expires.
  ExpectAllFree(cluster, absl::Seconds(60));
  const absl::Status ready = cluster.WaitReady(absl::Seconds(30));
  EXPECT_TRUE(ready.ok()) << ready;
  ExpectAllFree(cluster);
}

}  // namespace
}  // namespace tandem
