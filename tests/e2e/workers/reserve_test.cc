// SPDX-License-Identifier: Apache-2.0
// Goal: a Reserve that nobody waits for any more holds no memory, long before a lease's expiry;
// what the worker publishes never says "all free" of memory that is held. Method: the decode loop
// is held up while callers go away or run out of time; then it goes on. Every turn of the loop is
// looked at.
#include <memory>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/workers/test_workers.h"

namespace tandem {
namespace {

constexpr int kCalls = 20;

// One Reserve call, started and not waited for.
class ReserveCall {
 public:
  ReserveCall(v1::DecodeService::Stub& stub, absl::Duration deadline) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
    request_.set_tokens(10);
    stub.async()->Reserve(&context_, &request_, &response_, [this](const grpc::Status& status) {
      status_ = FromGrpcStatus(status);
      over_.Notify();
    });
  }
  void Cancel() { context_.TryCancel(); }
  absl::Status Wait() {
    over_.WaitForNotification();
    return status_;
  }

 private:
  grpc::ClientContext context_;
  v1::ReserveRequest request_;
  v1::ReserveResponse response_;
  absl::Status status_;
  absl::Notification over_;
};

TEST(ReserveTest, AGrantThatNobodyHearsOfIsGivenBack) {
  TestDecode decode({.slots = 2 * kCalls, .lease_ttl = absl::Hours(1)});
  absl::Notification held;
  absl::Notification go_on;
  ASSERT_TRUE(decode.loop().Post(ReserveCommand{.tokens = 0, .reply = [&](const auto&) {
                                                  held.Notify();
                                                  go_on.WaitForNotification();
                                                }}));
  held.WaitForNotification();
  std::vector<std::unique_ptr<ReserveCall>> calls;
  for (int i = 0; i < kCalls; ++i) {
    const bool late = i % 2 == 0;
    calls.push_back(std::make_unique<ReserveCall>(
        decode.stub(), late ? absl::Milliseconds(300) : absl::InfiniteDuration()));
  }
  // Most of them are in the loop's queue.
  absl::SleepFor(absl::Milliseconds(200));
  for (int i = 1; i < kCalls; i += 2) calls[i]->Cancel();
  for (int i = 0; i < kCalls; ++i) {
    EXPECT_EQ(calls[i]->Wait().code(),
              i % 2 == 0 ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kCancelled);
  }
  // The server has heard of it too, on a busy machine as well: a grant whose answer leaves before
  // that is the client's.
  absl::SleepFor(absl::Seconds(2));
  go_on.Notify();
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
}

TEST(ReserveTest, AllFreeIsPublishedOfFreeMemoryOnly) {
  constexpr int kSlots = 4;
  TestDecode decode({.slots = kSlots});
  ASSERT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
  // A call that is answered lies in a later turn of the loop than the one answered before it: what
  // that one freed is published. Far more rounds than times that a state is published anyhow.
  for (int round = 0; round < 50; ++round) {
    const absl::StatusOr<v1::Reservation> first = Reserve(decode, 10);
    ASSERT_TRUE(first.ok()) << first.status();
    const absl::StatusOr<v1::Reservation> second = Reserve(decode, 10);
    ASSERT_TRUE(second.ok()) << second.status();
    ASSERT_LT(decode.Published().slots_free(), kSlots) << "round " << round;
    EXPECT_TRUE(Release(decode, *first).ok());
    EXPECT_TRUE(Release(decode, *second).ok());
    EXPECT_TRUE(Release(decode, *second).ok());
    ASSERT_EQ(decode.Published().slots_free(), kSlots) << "round " << round;
  }
}

TEST(ReserveTest, WhoHearsOfAGrantReadsNoOlderState) {
  constexpr int kSlots = 4;
  TestDecode decode({.slots = kSlots});
  ASSERT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
  absl::Notification granted;
  uint32_t free = 0;
  ASSERT_TRUE(decode.loop().Post(ReserveCommand{.tokens = 10, .reply = [&](const auto& grant) {
                                                  EXPECT_TRUE(grant.ok()) << grant.status();
                                                  free = decode.Published().slots_free();
                                                  granted.Notify();
                                                }}));
  granted.WaitForNotification();
  EXPECT_EQ(free, kSlots - 1);
}

}  // namespace
}  // namespace tandem
