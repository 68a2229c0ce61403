// SPDX-License-Identifier: Apache-2.0
// Goal: every prompt token is planned exactly once, in order, within the budget. Method: plans by
// hand, then random traffic.
#include "services/runtime/scheduler/prefill_scheduler.h"

#include <map>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;

TEST(PrefillSchedulerTest, OldestFirstAndTheRestRidesAlong) {
  PrefillScheduler scheduler(/*chunk_tokens=*/8);
  scheduler.Submit(1, 11, /*pool=*/0);
  scheduler.Submit(2, 3, /*pool=*/0);
  scheduler.Submit(3, 9, /*pool=*/0);
  EXPECT_THAT(scheduler.Next().items, ElementsAre(PrefillItem{1, 0, 8, false}));
  scheduler.Advance(scheduler.Next());
  EXPECT_EQ(scheduler.running(), 1);
  EXPECT_EQ(scheduler.waiting(), 2);
  EXPECT_THAT(scheduler.Next().items,
              ElementsAre(PrefillItem{1, 8, 3, true}, PrefillItem{2, 0, 3, true},
                          PrefillItem{3, 0, 2, false}));
}

TEST(PrefillSchedulerTest, AStepStaysInOnePool) {
  PrefillScheduler scheduler(8);
  scheduler.Submit(1, 2, /*pool=*/5);
  scheduler.Submit(2, 2, /*pool=*/6);
  scheduler.Submit(3, 2, /*pool=*/5);
  const PrefillPlan plan = scheduler.Next();
  EXPECT_EQ(plan.pool, 5U);
  EXPECT_THAT(plan.items, ElementsAre(PrefillItem{1, 0, 2, true}, PrefillItem{3, 0, 2, true}));
  scheduler.Advance(plan);
  EXPECT_EQ(scheduler.Next().pool, 6U);
}

TEST(PrefillSchedulerTest, ACancelDuringTheStepIsPassedOver) {
  PrefillScheduler scheduler(4);
  scheduler.Submit(1, 9, 0);
  const PrefillPlan plan = scheduler.Next();
  EXPECT_TRUE(scheduler.Cancel(1));
  EXPECT_FALSE(scheduler.Cancel(1));
  scheduler.Advance(plan);
  EXPECT_TRUE(scheduler.Next().items.empty());
}

TEST(PrefillSchedulerTest, EveryTokenIsPlannedOnceInOrderUnderRandomTraffic) {
  std::mt19937 random(77);
  for (const int budget : {1, 7, 64, 4096}) {
    PrefillScheduler scheduler(budget);
    std::map<SequenceId, int> wanted;
    std::map<SequenceId, int> planned;
    SequenceId next_id = 1;
    for (int step = 0; step < 3000 || !scheduler.Next().items.empty(); ++step) {
      if (step < 2000 && random() % 3 == 0) {
        wanted[next_id] = 1 + static_cast<int>(random() % 300);
        scheduler.Submit(next_id, wanted[next_id], random() % 2);
        ++next_id;
      }
      const PrefillPlan plan = scheduler.Next();
      int tokens = 0;
      for (const PrefillItem& item : plan.items) {
        EXPECT_EQ(item.start, planned[item.id]);
        planned[item.id] += item.count;
        tokens += item.count;
        EXPECT_EQ(item.last, planned[item.id] == wanted[item.id]);
      }
      EXPECT_LE(tokens, budget);
      scheduler.Advance(plan);
    }
    EXPECT_EQ(planned, wanted);
  }
}

}  // namespace
}  // namespace tandem
