// SPDX-License-Identifier: Apache-2.0
// Goal: the search ends, within its bounds and its precision. Method: a limit that is known.
#include "services/tools/load/modes/rate_search.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

double Searched(double limit, const RateSearch::Options& options) {
  RateSearch search(options);
  for (int i = 0; i < 100; ++i) {
    const auto rate = search.Next();
    if (!rate.has_value()) return search.best().value_or(-1);
    EXPECT_LE(*rate, options.high);
    search.Tell(*rate, *rate <= limit);
  }
  ADD_FAILURE() << "no end";
  return 0;
}

TEST(RateSearchTest, FindsTheLimitWithinItsPrecision) {
  for (const double limit : {1.0, 1.01, 7.3, 100.0, 12345.0}) {
    const double found = Searched(limit, {.low = 1, .high = 1e6, .precision = 0.05});
    EXPECT_LE(found, limit);
    EXPECT_GE(found, limit / 1.05);
  }
  EXPECT_EQ(Searched(0.5, {.low = 1}), -1);
  EXPECT_EQ(Searched(1000, {.low = 1, .high = 50}), 50);
}

}  // namespace
}  // namespace tandem
