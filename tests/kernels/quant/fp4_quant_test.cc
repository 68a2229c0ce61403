// SPDX-License-Identifier: Apache-2.0
// Goal: FP4 queries. Method: the golden case exactly.
#include "kernels/quant/fp4_quant.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class Fp4QuantTest : public OnTable {};
ON_EVERY_TABLE(Fp4QuantTest);

TEST_P(Fp4QuantTest, DequantisesToTheGolden) {
  const Golden golden("fp4");
  const auto x = golden.Get<Bf16, 2>("hadamard");
  const auto y = golden.Get<float, 2>("y");
  Tensor<uint8_t, 2> q(6, 64);
  Tensor<Ue8m0, 2> scale(6, 4);
  kernels.fp4_quant({.x = x, .q = q.Poison(), .scale = scale.Poison()}, stream);
  for (size_t i = 0; i < y.values.size(); ++i) {
    const uint8_t code = i % 2 == 0 ? q[i / 2] & 15 : q[i / 2] >> 4;
    ASSERT_EQ(E2M1ToFloat(code) * ToFloat(scale[i / 32]), y[i]) << i;
  }
}

}  // namespace
}  // namespace tandem::kernels
