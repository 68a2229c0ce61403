// SPDX-License-Identifier: Apache-2.0
// Goal: the bound holds, nothing is lost or reordered by one producer, and waiting ends.
#include "services/runtime/base/bounded_queue.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

TEST(BoundedQueueTest, RefusesWhatIsPastTheBoundAndLeavesTheItemAlone) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  auto second = std::make_unique<int>(2);
  EXPECT_FALSE(queue.TryPush(std::move(second)));
  ASSERT_NE(second, nullptr);  // NOLINT(bugprone-use-after-move): the contract says untouched.
  EXPECT_TRUE(queue.PushAlways(std::move(second)));
  EXPECT_EQ(queue.PopAll(absl::ZeroDuration()).size(), 2U);
}

TEST(BoundedQueueTest, KeepsTheOrderOfOneProducerAcrossThreads) {
  BoundedQueue<int> queue(1000);
  std::vector<int> seen;
  {
    Thread producer("producer", [&queue] {
      for (int i = 0; i < 1000; ++i) {
        while (!queue.TryPush(int{i})) {
        }
      }
    });
    while (seen.size() < 1000) {
      for (const int i : queue.PopAll(absl::Milliseconds(10))) seen.push_back(i);
    }
  }
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen[i], i);
}

TEST(BoundedQueueTest, AConsumerThatStaysAwakeGetsWhatComes) {
  BoundedQueue<int> queue(4);
  Thread producer("producer", [&queue] { EXPECT_TRUE(queue.TryPush(7)); });
  EXPECT_EQ(queue.PopAll(absl::ZeroDuration(), /*awake=*/absl::Seconds(60)).size(), 1U);
  EXPECT_TRUE(queue.PopAll(absl::ZeroDuration(), absl::Milliseconds(1)).empty());
}

TEST(BoundedQueueTest, CloseWakesTheConsumerAndRefusesProducers) {
  BoundedQueue<int> queue(4);
  Thread closer("closer", [&queue] { queue.Close(); });
  EXPECT_TRUE(queue.PopAll(absl::Seconds(60)).empty());
  EXPECT_FALSE(queue.TryPush(1));
  EXPECT_FALSE(queue.PushAlways(1));
}

}  // namespace
}  // namespace tandem
