// SPDX-License-Identifier: Apache-2.0
// Goal: draws by counter. Method: the published first outputs of SplitMix64; range and mean of
// many.
#include "kernels/sampling/uniform.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class UniformTest : public OnTable {};
ON_EVERY_TABLE(UniformTest);

TEST(SplitMix64Test, EqualsThePublishedSequence) {
  EXPECT_EQ(SplitMix64(1234567, 0), 6457827717110365317u);
  EXPECT_EQ(SplitMix64(1234567, 1), 3203168211198807973u);
  EXPECT_EQ(SplitMix64(1234567, 2), 9817491932198370423u);
}

TEST_P(UniformTest, StaysInTheUnitIntervalWithMeanOneHalf) {
  constexpr int kCount = 10000;
  Tensor<uint64_t, 1> seed(kCount), counter(kCount);
  for (int i = 0; i < kCount; ++i) counter[i] = static_cast<uint64_t>(i);
  Tensor<float, 1> u(kCount);
  kernels.uniform({.seed = seed, .counter = counter, .u = u.Poison()}, stream);
  double sum = 0;
  for (const float v : u.values) {
    ASSERT_GE(v, 0);
    ASSERT_LT(v, 1);
    sum += v;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 5 / std::sqrt(12.0 * kCount));
}

}  // namespace
}  // namespace tandem::kernels
