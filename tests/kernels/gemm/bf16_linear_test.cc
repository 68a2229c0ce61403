// SPDX-License-Identifier: Apache-2.0
// Goal: the BF16 linear with FP32 output. Method: the golden case; the bound of the sums; bits
// independent of T; odd sizes that fill neither a panel nor a block.
#include "kernels/gemm/bf16_linear.h"

#include <utility>

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class Bf16LinearTest : public OnTable {};
ON_EVERY_TABLE(Bf16LinearTest);

TEST_P(Bf16LinearTest, EqualsTheGolden) {
  const Golden golden("linears");
  const auto x = golden.Get<Bf16, 2>("x");
  OwnedWeight weight(WeightFormat::kBf16, 10, 256, golden.bytes("wb"), {});
  Tensor<float, 2> y(3, 10);
  kernels.bf16_linear({.x = x, .weight = weight.For(kernels), .y = y.Poison()}, stream);
  ExpectNear(y.values, golden.Get<float, 2>("yb").values, 1e-6, 1e-5);
}

TEST_P(Bf16LinearTest, StaysWithinTheBoundOfItsSumsAndDoesNotDependOnT) {
  Random random(31);
  SCOPED_TRACE(random.Trace());
  const std::pair<int64_t, int64_t> shapes[] = {{1, 1},    {10, 130},   {16, 256},
                                                {17, 384}, {1920, 256}, {33, 2048}};
  for (const auto& [n, k] : shapes) {
    const int64_t tokens = 7;
    OwnedWeight owned(WeightFormat::kBf16, n, k, random);
    const LinearWeight weight = owned.For(kernels);
    Tensor<Bf16, 2> x(tokens, k);
    random.Fill(x);
    Tensor<float, 2> y(tokens, n), one(1, n);
    kernels.bf16_linear({.x = x, .weight = weight, .y = y.Poison()}, stream);
    std::vector<float> w(k);
    for (int64_t i = 0; i < n; ++i) {
      ReadWeightRow(weight, i, w.data());
      for (int64_t t = 0; t < tokens; ++t) {
        double sum = 0, size = 0;
        for (int64_t j = 0; j < k; ++j) {
          const double product = static_cast<double>(ToFloat(x[t * k + j])) * w[j];
          sum += product;
          size += std::abs(product);
        }
        ASSERT_NEAR(y[t * n + i], sum, (127 + (k + 127) / 128) * 0x1p-24 * size);
      }
    }
    for (int64_t t = 0; t < tokens; ++t) {
      kernels.bf16_linear({.x = Rows(x.view, t, 1), .weight = weight, .y = one.Poison()}, stream);
      ASSERT_EQ(std::memcmp(one.values.data(), y.view.row(t), 4 * n), 0) << n << "x" << k;
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
