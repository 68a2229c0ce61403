// SPDX-License-Identifier: Apache-2.0
// Goal: the Hadamard rotation. Method: the golden case exactly, and the definition by popcounts on
// unit vectors.
#include "kernels/quant/hadamard.h"

#include <bit>

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class HadamardTest : public OnTable {};
ON_EVERY_TABLE(HadamardTest);

TEST_P(HadamardTest, EqualsTheGolden) {
  const Golden golden("fp4");
  auto x = golden.Get<Bf16, 2>("x");
  kernels.hadamard({.x = x}, stream);
  EXPECT_EQ(x.values, (golden.Get<Bf16, 2>("hadamard").values));
}

TEST_P(HadamardTest, AUnitVectorGivesARowOfSigns) {
  for (int j = 0; j < 128; ++j) {
    Tensor<Bf16, 2> x(1, 128);
    x[j] = ToBf16(1);
    kernels.hadamard({.x = x}, stream);
    for (int i = 0; i < 128; ++i) {
      const float sign = std::popcount(static_cast<unsigned>(i & j)) % 2 == 0 ? 1.0f : -1.0f;
      ASSERT_EQ(ToFloat(x[i]), sign * RoundBf16(0.08838834764831845f));
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
