// SPDX-License-Identifier: Apache-2.0
// Goal: FP8 activations. Method: the golden case exactly; T = 1 and T = 64 give the same bytes.
#include "kernels/quant/act_quant.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class ActQuantTest : public OnTable {};
ON_EVERY_TABLE(ActQuantTest);

TEST_P(ActQuantTest, DequantisesToTheGolden) {
  const Golden golden("act_quant");
  const auto x = golden.Get<Bf16, 2>("x");
  const auto y = golden.Get<float, 2>("y");
  Tensor<E4M3, 2> q(6, 256);
  Tensor<Ue8m0, 2> scale(6, 2);
  kernels.act_quant({.x = x, .q = q.Poison(), .scale = scale.Poison()}, stream);
  for (size_t i = 0; i < y.values.size(); ++i) {
    ASSERT_EQ(ToFloat(q[i]) * ToFloat(scale[i / 128]), y[i]) << i;
  }
}

TEST_P(ActQuantTest, ARowDoesNotDependOnItsNeighbours) {
  Random random(11);
  Tensor<Bf16, 2> x(64, 384);
  random.Fill(x, 5);
  Tensor<E4M3, 2> q(64, 384), one(1, 384);
  Tensor<Ue8m0, 2> scale(64, 3), one_scale(1, 3);
  kernels.act_quant({.x = x, .q = q, .scale = scale}, stream);
  for (int t = 0; t < 64; ++t) {
    kernels.act_quant({.x = Rows(x.view, t, 1), .q = one, .scale = one_scale}, stream);
    ASSERT_EQ(std::memcmp(one.values.data(), q.view.row(t), 384), 0);
    ASSERT_EQ(std::memcmp(one_scale.values.data(), scale.view.row(t), 3), 0);
  }
}

}  // namespace
}  // namespace tandem::kernels
