// SPDX-License-Identifier: Apache-2.0
// Goal: index_query is rope, hadamard and fp4_quant in one. Method: random input, equal bytes.
#include "kernels/quant/index_query.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class IndexQueryTest : public OnTable {};
ON_EVERY_TABLE(IndexQueryTest);

TEST_P(IndexQueryTest, EqualsTheThreeOperations) {
  Random random(82);
  SCOPED_TRACE(random.Trace());
  constexpr int64_t kTokens = 3, kHeads = 5, kRows = kTokens * kHeads;
  Tensor<Bf16, 3> x(kTokens, kHeads, 128);
  Tensor<float, 2> cos(kTokens, 32), sin(kTokens, 32);
  random.Fill(x, 2);
  random.Fill(cos);
  random.Fill(sin);
  Tensor<uint8_t, 3> q(kTokens, kHeads, 64), expected_q(kTokens, kHeads, 64);
  Tensor<Ue8m0, 3> scale(kTokens, kHeads, 4), expected_scale(kTokens, kHeads, 4);
  const Tensor<Bf16, 3> before = x;
  kernels.index_query({.x = x, .cos = cos, .sin = sin, .q = q.Poison(), .scale = scale.Poison()},
                      stream);
  EXPECT_TRUE(x.values == before.values);
  kernels.rope({.x = x, .cos = cos, .sin = sin}, stream);
  kernels.hadamard({.x = {x.values.data(), {kRows, 128}}}, stream);
  kernels.fp4_quant({.x = {x.values.data(), {kRows, 128}},
                     .q = {expected_q.values.data(), {kRows, 64}},
                     .scale = {expected_scale.values.data(), {kRows, 4}}},
                    stream);
  EXPECT_EQ(q.values, expected_q.values);
  EXPECT_EQ(scale.values, expected_scale.values);
}

}  // namespace
}  // namespace tandem::kernels
