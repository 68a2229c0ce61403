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
  scheduler.Submit(2, 12, /*pool=*/0);
  scheduler.Submit(3, 11, /*pool=*/0);
  EXPECT_THAT(scheduler.Next().items, ElementsAre(PrefillItem{1, 0, 8, false}));
  scheduler.Advance(scheduler.Next());
  EXPECT_EQ(scheduler.running(), 1);
  EXPECT_EQ(scheduler.waiting(), 2);
  EXPECT_THAT(scheduler.Next().items,
              ElementsAre(PrefillItem{1, 8, 3, true}, PrefillItem{3, 0, 5, false}));
}

TEST(PrefillSchedulerTest, PromptsOfOneLengthAreReadOneAfterAnother) {
  PrefillScheduler scheduler(8);
  for (const SequenceId id : {1, 2, 3}) scheduler.Submit(id, 20, 0);
  SequenceId last = 1;
  int steps = 0;
  for (; !scheduler.Next().items.empty(); ++steps) {
    for (const PrefillItem& item : scheduler.Next().items) {
      EXPECT_GE(item.id, last) << steps;
      last = item.id;
    }
    scheduler.Advance(scheduler.Next());
  }
  EXPECT_EQ(steps, 8);
}

TEST(PrefillSchedulerTest, AShortPromptIsReadBesideALongOne) {
  PrefillScheduler scheduler(4096);
  scheduler.Submit(1, 1'000'000, 0);
  scheduler.Submit(2, 500'000, 0);
  scheduler.Submit(3, 2000, 0);
  scheduler.Advance(scheduler.Next());
  scheduler.Submit(4, 20, 0);
  EXPECT_THAT(scheduler.Next().items,
              ElementsAre(PrefillItem{1, 3072, 3072, false}, PrefillItem{4, 0, 20, true},
                          PrefillItem{3, 1024, 976, true}, PrefillItem{2, 0, 28, false}));
  scheduler.Advance(scheduler.Next());
  EXPECT_TRUE(scheduler.Cancel(2));
  // Nobody else: it has the whole step.
  EXPECT_THAT(scheduler.Next().items, ElementsAre(PrefillItem{1, 6144, 4096, false}));
}

TEST(PrefillSchedulerTest, TheOldestEndsHoweverManyShorterOnesCome) {
  for (const int budget : {1, 3, 4, 100}) {
    PrefillScheduler scheduler(budget);
    scheduler.Submit(1, 600, /*pool=*/0);
    SequenceId next_id = 2;
    int steps = 0;
    for (; scheduler.Next().items[0].id != 1 || !scheduler.Next().items[0].last; ++steps) {
      ASSERT_LT(steps, 600 * 2);
      for (const PoolId pool : {0, 1}) scheduler.Submit(next_id++, budget, pool);
      scheduler.Advance(scheduler.Next());
    }
    // Three quarters of three steps in four.
    EXPECT_LE(steps, 1 + 600 * 16 / 9 / budget) << budget;
  }
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

TEST(PrefillSchedulerTest, AShortPromptOfAnotherPoolWaitsForFourStepsAtMost) {
  PrefillScheduler scheduler(8);
  scheduler.Submit(1, 1000, /*pool=*/5);
  scheduler.Submit(2, 900, /*pool=*/6);
  scheduler.Submit(3, 3, /*pool=*/6);
  for (int step = 0; step < 3; ++step) {
    EXPECT_EQ(scheduler.Next().pool, 5U);
    scheduler.Advance(scheduler.Next());
  }
  EXPECT_EQ(scheduler.Next().pool, 6U);
  EXPECT_THAT(scheduler.Next().items,
              ElementsAre(PrefillItem{3, 0, 3, true}, PrefillItem{2, 0, 5, false}));
  scheduler.Advance(scheduler.Next());
  EXPECT_EQ(scheduler.Next().pool, 5U);
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
      if (step < 2000 && random() % 3 == 0 && scheduler.waiting() < 64) {
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
