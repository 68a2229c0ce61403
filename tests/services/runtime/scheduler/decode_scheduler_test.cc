// SPDX-License-Identifier: Apache-2.0
// Goal: sequences end exactly where they must, and none starves. Method: small cases by hand, turns
// counted.
#include "services/runtime/scheduler/decode_scheduler.h"

#include <algorithm>
#include <map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;

TEST(DecodeSchedulerTest, EndsAtTheLimitOrAtAStopToken) {
  DecodeScheduler scheduler(4);
  EXPECT_EQ(scheduler.Add(1, {.tokens_max = 3, .stop_tokens = {9}}, 5), std::nullopt);
  EXPECT_EQ(scheduler.Add(2, {.tokens_max = 9, .stop_tokens = {9}}, 5), std::nullopt);
  EXPECT_EQ(scheduler.Advance(1, 5), std::nullopt);
  EXPECT_EQ(scheduler.Advance(1, 5), EndReason::kLength);
  EXPECT_EQ(scheduler.Advance(2, 9), EndReason::kStop);
  EXPECT_EQ(scheduler.running(), 0);
}

TEST(DecodeSchedulerTest, TheFirstTokenMayBeTheLast) {
  DecodeScheduler scheduler(4);
  EXPECT_EQ(scheduler.Add(1, {.tokens_max = 1, .stop_tokens = {}}, 5), EndReason::kLength);
  EXPECT_EQ(scheduler.Add(2, {.tokens_max = 5, .stop_tokens = {5}}, 5), EndReason::kStop);
  EXPECT_EQ(scheduler.Add(3, {.tokens_max = 1, .stop_tokens = {5}}, 5), EndReason::kStop)
      << "stop wins";
  EXPECT_TRUE(scheduler.Next().empty());
}

TEST(DecodeSchedulerTest, NoSequenceStarvesWhenTheBatchIsSmall) {
  DecodeScheduler scheduler(/*batch_max=*/3);
  std::map<SequenceId, int> turns;
  for (SequenceId id = 1; id <= 7; ++id) {
    ASSERT_EQ(scheduler.Add(id, {.tokens_max = 1000, .stop_tokens = {}}, 0), std::nullopt);
  }
  for (int step = 0; step < 70; ++step) {
    const std::vector<SequenceId> batch = scheduler.Next();
    EXPECT_EQ(batch.size(), 3U);
    for (const SequenceId id : batch) {
      ++turns[id];
      EXPECT_EQ(scheduler.Advance(id, 0), std::nullopt);
    }
  }
  for (SequenceId id = 1; id <= 7; ++id) EXPECT_EQ(turns[id], 30);
}

TEST(DecodeSchedulerTest, ARemovedSequenceHasNoMoreTurns) {
  DecodeScheduler scheduler(3);
  ASSERT_EQ(scheduler.Add(1, {.tokens_max = 9, .stop_tokens = {}}, 0), std::nullopt);
  ASSERT_EQ(scheduler.Add(2, {.tokens_max = 9, .stop_tokens = {}}, 0), std::nullopt);
  EXPECT_TRUE(scheduler.Remove(1));
  EXPECT_FALSE(scheduler.Remove(1));
  EXPECT_THAT(scheduler.Next(), ElementsAre(2));
}

}  // namespace
}  // namespace tandem
