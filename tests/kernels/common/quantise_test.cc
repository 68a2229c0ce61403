// SPDX-License-Identifier: Apache-2.0
// Goal: scales and codes of a group. Method: for amax over all positive bf16 values the scale is
// the least power of two by definition in fp64; codes are checked against encoding x / s; floors
// and infinities by hand.
#include "kernels/common/quantise.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

TEST(QuantiseTest, TheScaleIsTheLeastPowerOfTwoThatHoldsEveryBf16Maximum) {
  for (uint16_t bits = 1; bits < 0x7F80; ++bits) {
    Bf16 x[2] = {Bf16{bits}, Bf16{0}};
    const double a = ToFloat(x[0]);
    E4M3 codes[2];
    const int e8 = QuantiseE4M3(x, 2, codes).bits - 127;
    const double floored = std::max<double>(a, 1e-4f);
    ASSERT_LE(floored / std::ldexp(1, e8), 448 * (1 + 1e-7)) << bits;
    ASSERT_GT(floored / std::ldexp(1, e8 - 1), 448 * (1 - 1e-7)) << bits;
    ASSERT_EQ(codes[0], ToE4M3(static_cast<float>(a / std::ldexp(1, e8))));
    uint8_t packed;
    const int e4 = QuantiseE2M1(x, 2, &packed).bits - 127;
    const double floored4 = std::max(a, std::ldexp(6, -126));
    ASSERT_LE(floored4 / std::ldexp(1, e4), 6 * (1 + 1e-7)) << bits;
    ASSERT_GT(floored4 / std::ldexp(1, e4 - 1), 6 * (1 - 1e-7)) << bits;
    ASSERT_EQ(packed & 15, ToE2M1(static_cast<float>(a / std::ldexp(1, e4))));
  }
}

TEST(QuantiseTest, ZerosTakeTheFloor) {
  const Bf16 x[2] = {};
  E4M3 codes[2];
  EXPECT_EQ(QuantiseE4M3(x, 2, codes).bits, 105);
  uint8_t packed;
  EXPECT_EQ(QuantiseE2M1(x, 2, &packed).bits, 1);
  EXPECT_EQ(packed, 0);
}

TEST(QuantiseTest, TheLowNibbleIsTheEvenIndex) {
  const Bf16 x[2] = {ToBf16(6), ToBf16(-1)};
  uint8_t packed;
  EXPECT_EQ(QuantiseE2M1(x, 2, &packed).bits, 127);
  EXPECT_EQ(packed, 0xA7);
}

TEST(QuantiseTest, AnInfiniteGroupBecomesNan) {
  const Bf16 x[2] = {ToBf16(1), ToBf16(INFINITY)};
  E4M3 codes[2];
  const Ue8m0 scale = QuantiseE4M3(x, 2, codes);
  EXPECT_TRUE(std::isnan(ToFloat(codes[0]) * ToFloat(scale)));
}

}  // namespace
}  // namespace tandem::kernels
