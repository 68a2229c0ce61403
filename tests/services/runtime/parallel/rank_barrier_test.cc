// SPDX-License-Identifier: Apache-2.0
// Goal: ranks leave a barrier together, or with an error, and never wait for ever. Method: threads
// that count rounds; one that stays away; one that fails.
#include "services/runtime/parallel/rank_barrier.h"

#include <atomic>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

TEST(RankBarrierTest, NobodyIsARoundAhead) {
  constexpr int kRanks = 4, kRounds = 500;
  RankBarrier barrier(kRanks, absl::Seconds(60));
  std::atomic<int> came = 0;
  std::vector<std::unique_ptr<Thread>> threads;
  for (int r = 0; r < kRanks; ++r) {
    threads.push_back(std::make_unique<Thread>(absl::StrCat("rank-", r), [&, r] {
      for (int round = 1; round <= kRounds; ++round) {
        ++came;
        ASSERT_TRUE(barrier.Meet(r).ok());
        EXPECT_GE(came, round * kRanks);
        EXPECT_LT(came, (round + 1) * kRanks);
      }
    }));
  }
}

TEST(RankBarrierTest, NamesWhoDidNotCome) {
  RankBarrier barrier(3, absl::Milliseconds(20));
  const absl::Status status = barrier.Meet(0);
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("waited 20ms in vain for rank 1, 2"));
  EXPECT_EQ(barrier.Meet(1), status);
}

TEST(RankBarrierTest, AFailureEndsAllWaits) {
  RankBarrier barrier(2, absl::Seconds(60));
  const absl::Time begin = absl::Now();
  Thread other("rank-1", [&] {
    absl::SleepFor(absl::Milliseconds(10));
    barrier.Fail(absl::InternalError("no more"));
    barrier.Fail(absl::InternalError("not the first"));
  });
  EXPECT_EQ(barrier.Meet(0), absl::InternalError("no more"));
  EXPECT_EQ(barrier.failure(), absl::InternalError("no more"));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
}

}  // namespace
}  // namespace tandem
