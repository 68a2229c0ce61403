// SPDX-License-Identifier: Apache-2.0
// Goal: no more pass than burst + rate × time, and whoever waits as told passes. Method: times
// given.
#include "services/router/keys/rate_limit.h"

#include <random>

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(RateLimitTest, ABurstThenTheRate) {
  RateLimit limit({.per_second = 2, .burst = 3});
  absl::Time now = absl::UnixEpoch();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limit.Take(now), absl::ZeroDuration());
  EXPECT_EQ(limit.Take(now), absl::Milliseconds(500));
  now += absl::Milliseconds(500);
  EXPECT_EQ(limit.Take(now), absl::ZeroDuration());
  EXPECT_EQ(limit.Take(now), absl::Milliseconds(500));
  now += absl::Hours(1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limit.Take(now), absl::ZeroDuration());
  EXPECT_GT(limit.Take(now), absl::ZeroDuration()) << "a pause is worth no more than the burst";
}

// Ten times 0.1 is a little less than 1.
TEST(RateLimitTest, WhoPassesByARoundingHasTakenOne) {
  RateLimit limit({.per_second = 10, .burst = 1});
  absl::Time now = absl::UnixEpoch();
  EXPECT_EQ(limit.Take(now), absl::ZeroDuration());
  for (int i = 1; i < 10; ++i) {
    now += absl::Milliseconds(10);
    EXPECT_GT(limit.Take(now), absl::ZeroDuration()) << i;
  }
  now += absl::Milliseconds(10);
  EXPECT_EQ(limit.Take(now), absl::ZeroDuration());
  EXPECT_GT(limit.Take(now), absl::Milliseconds(99));
}

TEST(RateLimitTest, WithoutARateAllPass) {
  RateLimit limit({});
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(limit.Take(absl::UnixEpoch()), absl::ZeroDuration());
}

TEST(RateLimitTest, NeverMoreThanTheRateInAnyOrderOfCalls) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  RateLimit limit({.per_second = 10, .burst = 5});
  const absl::Time begin = absl::UnixEpoch();
  absl::Time now = begin;
  int passed = 0;
  for (int i = 0; i < 10'000; ++i) {
    now += absl::Microseconds(random() % 40'000);
    passed += limit.Take(now) == absl::ZeroDuration();
    ASSERT_LE(passed, 5 + 10 * absl::ToDoubleSeconds(now - begin) + 1e-6);
  }
  EXPECT_GE(passed, 10 * absl::ToDoubleSeconds(now - begin) * 0.95) << "calls came 50 a second";
}

}  // namespace
}  // namespace tandem
