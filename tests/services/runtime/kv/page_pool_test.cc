// SPDX-License-Identifier: Apache-2.0
// Goal: no id is given twice or lost. Method: small pools by hand, then random traffic against a
// model of what is held.
#include "services/runtime/kv/page_pool.h"

#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

TEST(PagePoolTest, SaysWhatIsShortAndTakesNothingThen) {
  PagePool pool(/*pages=*/3, /*slots=*/1);
  const auto too_many = pool.Allocate(4);
  EXPECT_EQ(too_many.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(too_many.status().message(), HasSubstr("4 asked for, 3 of 3 are free"));
  EXPECT_EQ(pool.slots_free(), 1);
  auto one = pool.Allocate(1);
  ASSERT_TRUE(one.ok());
  EXPECT_THAT(pool.Allocate(1).status().message(), HasSubstr("sequence slots: all 1"));
  EXPECT_EQ(pool.pages_free(), 2);
  pool.Free(*std::move(one));
  EXPECT_EQ(pool.pages_free(), 3);
}

TEST(PagePoolTest, NeverGivesAnIdTwiceUnderRandomTraffic) {
  std::mt19937 random(20261122);
  PagePool pool(/*pages=*/40, /*slots=*/9);
  std::vector<Allocation> held;
  std::set<int> pages;
  std::set<int> slots;
  for (int step = 0; step < 5000; ++step) {
    if (random() % 2 == 0) {
      auto got = pool.Allocate(1 + static_cast<int>(random() % 8));
      if (!got.ok()) continue;
      EXPECT_TRUE(slots.insert(got->slot).second);
      for (const int page : got->pages) EXPECT_TRUE(pages.insert(page).second);
      held.push_back(*std::move(got));
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      slots.erase(held.back().slot);
      for (const int page : held.back().pages) pages.erase(page);
      pool.Free(std::move(held.back()));
      held.pop_back();
    }
    EXPECT_EQ(pool.pages_free() + static_cast<int>(pages.size()), pool.pages_total());
    EXPECT_EQ(pool.slots_free() + static_cast<int>(slots.size()), pool.slots_total());
  }
}

TEST(PagePoolDeathTest, StopsOnAPageThatIsFreedTwice) {
  PagePool pool(2, 2);
  Allocation one = *pool.Allocate(1);
  pool.Free(one);
  EXPECT_DEATH(pool.Free(one), "held");
}

}  // namespace
}  // namespace tandem
