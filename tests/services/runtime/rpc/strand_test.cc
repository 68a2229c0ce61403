// SPDX-License-Identifier: Apache-2.0
// Goal: one at a time, in order, nothing lost, and the last may delete. Method: many threads post
// to one strand.
#include "services/runtime/rpc/strand.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

TEST(StrandTest, RunsEverythingOneAtATimeInEachPostersOrder) {
  Strand strand;
  std::vector<std::pair<int, int>> ran;  // Without a lock: the strand is the lock.
  {
    std::vector<std::unique_ptr<Thread>> posters;
    for (int poster = 0; poster < 4; ++poster) {
      posters.push_back(std::make_unique<Thread>("poster", [&strand, &ran, poster] {
        for (int i = 0; i < 1000; ++i) {
          strand.Post([&ran, poster, i] { ran.emplace_back(poster, i); });
        }
      }));
    }
  }
  strand.Post([] {});
  ASSERT_EQ(ran.size(), 4000U);
  std::vector<int> next(4, 0);
  for (const auto& [poster, i] : ran) EXPECT_EQ(i, next[poster]++);
}

TEST(StrandTest, PostedFromInsideRunsAfterwards) {
  Strand strand;
  std::vector<int> order;
  strand.Post([&] {
    strand.Post([&order] { order.push_back(2); });
    order.push_back(1);
  });
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(StrandTest, LastFunctionMayDeleteTheOwner) {
  struct Owner {
    Strand strand;
  };
  auto* owner = new Owner();
  bool deleted = false;
  owner->strand.Post([owner, &deleted] {
    owner->strand.PostLast([owner, &deleted] {
      delete owner;
      deleted = true;
    });
  });
  EXPECT_TRUE(deleted);
}

}  // namespace
}  // namespace tandem
