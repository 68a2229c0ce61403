// SPDX-License-Identifier: Apache-2.0
// Goal: a steady stream shows its rate, silence shows zero. Method: times of the test's own.
#include "services/runtime/metrics/rate.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(RateTest, SteadyEventsGiveTheirRateAndSilenceDecays) {
  Rate rate;
  absl::Time now = absl::UnixEpoch();
  EXPECT_EQ(rate.PerSecond(now), 0);
  for (int i = 0; i < 1000; ++i) {
    now += absl::Milliseconds(10);
    rate.Add(2, now);
  }
  // 2 every 10 ms; the window's sum overshoots by half a step.
  EXPECT_NEAR(rate.PerSecond(now), 200, 2);
  EXPECT_LT(rate.PerSecond(now + absl::Seconds(10)), 0.1);
}

}  // namespace
}  // namespace tandem
