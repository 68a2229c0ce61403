// SPDX-License-Identifier: Apache-2.0
// Goal: the clamped gate. Method: the definition in fp64 on values on both sides of both clamps,
// with and without weight.
#include "kernels/moe/swiglu.h"

#include <algorithm>

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class SwigluTest : public OnTable {};
ON_EVERY_TABLE(SwigluTest);

TEST_P(SwigluTest, ClampsTheGateAboveAndTheOtherOnBothSides) {
  const float values[] = {-30, -10, -1, 0, 0.5f, 10, 30};
  Tensor<Bf16, 2> a(7, 7), b(7, 7), out(7, 7);
  Tensor<float, 1> weight(7);
  for (int i = 0; i < 49; ++i) {
    a[i] = ToBf16(values[i / 7]);
    b[i] = ToBf16(values[i % 7]);
    weight[i / 7] = 0.25f * static_cast<float>(1 + i / 7);
  }
  for (const bool weighted : {true, false}) {
    kernels.swiglu({.a = a,
                    .b = b,
                    .weight = weighted ? weight.view : TensorView<float, 1>{},
                    .limit = 10,
                    .out = out.Poison()},
                   stream);
    for (int i = 0; i < 49; ++i) {
      const double x = std::min<double>(values[i / 7], 10),
                   y = std::min(std::max<double>(values[i % 7], -10), 10.0);
      const double expected = (weighted ? weight[i / 7] : 1) * (x / (1 + std::exp(-x)) * y);
      EXPECT_NEAR(ToFloat(out[i]), expected, std::abs(expected) / 256) << i;
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
