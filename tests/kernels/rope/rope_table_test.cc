// SPDX-License-Identifier: Apache-2.0
// Goal: frequencies and angles. Method: the golden tables, the specification's check values, and
// angles at the largest position against fp64.
#include "kernels/rope/rope_table.h"

#include <utility>

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class RopeTableTest : public OnTable {};
ON_EVERY_TABLE(RopeTableTest);

constexpr RopeScaling kCompress{
    .base = 160000, .factor = 16, .original_positions = 65536, .beta_fast = 32, .beta_slow = 1};

// One fp32 step apart at most: numpy's power is not rounded correctly.
TEST(RopeFrequenciesTest, EqualTheGoldenTables) {
  const Golden golden("rope");
  Tensor<float, 1> f(32);
  RopeFrequencies({.base = 10000}, f);
  ExpectNear(f.values, golden.Get<float, 1>("main").values, 0x1p-23, 0);
  RopeFrequencies(kCompress, f);
  ExpectNear(f.values, golden.Get<float, 1>("compress").values, 0x1p-23, 0);
}

TEST(RopeFrequenciesTest, EqualTheCheckValuesOfTheSpecification) {
  Tensor<float, 1> f(32);
  RopeFrequencies(kCompress, f);
  const std::pair<int, double> expected[] = {{0, 1},
                                             {1, 0.6876560219},
                                             {15, 3.635538584e-3},
                                             {16, 2.265625e-3},
                                             {17, 1.396801295e-3},
                                             {20, 2.969777783e-4},
                                             {24, 1.953125e-5},
                                             {25, 5.372312671e-6},
                                             {31, 5.680529037e-7}};
  for (const auto& [k, value] : expected) EXPECT_NEAR(f[k] / value, 1, 3e-7) << k;
}

TEST_P(RopeTableTest, ReducesTheLargestAnglesInFull) {
  Tensor<float, 1> f(32);
  RopeFrequencies({.base = 10000}, f);
  Tensor<int32_t, 1> positions(2);
  positions[0] = 1048575;
  Tensor<float, 2> cos(2, 32), sin(2, 32);
  kernels.rope_table(
      {.positions = positions, .frequencies = f, .cos = cos.Poison(), .sin = sin.Poison()}, stream);
  for (int k = 0; k < 32; ++k) {
    const float theta = 1048575.0f * f[k];
    EXPECT_NEAR(cos[k], std::cos(static_cast<double>(theta)), 6e-8);
    EXPECT_NEAR(sin[k], std::sin(static_cast<double>(theta)), 6e-8);
    EXPECT_EQ(cos[32 + k], 1);
    EXPECT_EQ(sin[32 + k], 0);
  }
}

}  // namespace
}  // namespace tandem::kernels
