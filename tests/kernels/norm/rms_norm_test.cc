// SPDX-License-Identifier: Apache-2.0
// Goal: RMS norm with a weight. Method: the golden case bit for bit, in place, and poisoned output
// of one row.
#include "kernels/norm/rms_norm.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class RmsNormTest : public OnTable {};
ON_EVERY_TABLE(RmsNormTest);

TEST_P(RmsNormTest, EqualsTheGolden) {
  const Golden golden("rms_norm");
  auto x = golden.Get<Bf16, 2>("x");
  const auto weight = golden.Get<Bf16, 1>("weight");
  Tensor<Bf16, 2> y(3, 256);
  y.Poison();
  kernels.rms_norm({.x = x, .weight = weight, .eps = 1e-6f, .y = y}, stream);
  ExpectNear(y.values, golden.Get<Bf16, 2>("y").values);
  kernels.rms_norm({.x = x, .weight = weight, .eps = 1e-6f, .y = x}, stream);
  EXPECT_EQ(x.values, y.values);
}

TEST_P(RmsNormTest, ZerosStayZerosByTheEpsilon) {
  Tensor<Bf16, 2> x(1, 5), y(1, 5);
  Tensor<Bf16, 1> weight(5);
  for (Bf16& w : weight.values) w = ToBf16(1);
  kernels.rms_norm({.x = x, .weight = weight, .eps = 1e-6f, .y = y.Poison()}, stream);
  EXPECT_EQ(y.values, x.values);
}

}  // namespace
}  // namespace tandem::kernels
