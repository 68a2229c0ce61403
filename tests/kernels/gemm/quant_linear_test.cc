// SPDX-License-Identifier: Apache-2.0
// Goal: the FP8 and FP4 linear. Method: golden cases; fresh random input, fast against reference
// within the bound that the header derives from the order of sums; row t of T = 64 equals T = 1 bit
// for bit in every shape in use.
#include "kernels/gemm/quant_linear.h"

#include <utility>

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

struct Input {
  Tensor<E4M3, 2> q;
  Tensor<Ue8m0, 2> scale;
};

class QuantLinearTest : public OnTable {
 protected:
  Input Quantise(TensorView<const Bf16, 2> x) {
    Input input{.q = Tensor<E4M3, 2>(x.shape[0], x.shape[1]),
                .scale = Tensor<Ue8m0, 2>(x.shape[0], x.shape[1] / 128)};
    kernels.act_quant({.x = x, .q = input.q, .scale = input.scale}, stream);
    return input;
  }
  Input RandomInput(int64_t tokens, int64_t k, Random& random) {
    Tensor<Bf16, 2> x(tokens, k);
    random.Fill(x, 3);
    return Quantise(x);
  }
};
ON_EVERY_TABLE(QuantLinearTest);

TEST_P(QuantLinearTest, EqualsTheGoldens) {
  const Golden golden("linears");
  const Input input = Quantise(golden.Get<Bf16, 2>("x"));
  OwnedWeight w8(WeightFormat::kFp8, 128, 256, golden.bytes("w8"), golden.bytes("s8"));
  OwnedWeight w4(WeightFormat::kFp4, 64, 256, golden.bytes("w4"), golden.bytes("s4"));
  Tensor<Bf16, 2> y8(3, 128), y4(3, 64);
  kernels.quant_linear(
      {.q = input.q, .scale = input.scale, .weight = w8.For(kernels), .y = y8.Poison()}, stream);
  kernels.quant_linear(
      {.q = input.q, .scale = input.scale, .weight = w4.For(kernels), .y = y4.Poison()}, stream);
  ExpectNear(y8.values, golden.Get<Bf16, 2>("y8").values, 1e-5);
  ExpectNear(y4.values, golden.Get<Bf16, 2>("y4").values, 1e-5);
}

TEST_P(QuantLinearTest, StaysWithinTheBoundOfItsSums) {
  Random random(21);
  SCOPED_TRACE(random.Trace());
  for (const auto format : {WeightFormat::kFp8, WeightFormat::kFp4}) {
    const int64_t n = 128, k = 1024, tokens = 3;
    OwnedWeight weight(format, n, k, random);
    const Input input = RandomInput(tokens, k, random);
    Tensor<Bf16, 2> y(tokens, n);
    kernels.quant_linear(
        {.q = input.q, .scale = input.scale, .weight = weight.For(kernels), .y = y}, stream);
    std::vector<float> w(k);
    for (int64_t i = 0; i < n; ++i) {
      ReadWeightRow(weight.plain(), i, w.data());
      for (int64_t t = 0; t < tokens; ++t) {
        double sum = 0, size = 0;
        for (int64_t j = 0; j < k; ++j) {
          const double product = static_cast<double>(ToFloat(input.q[t * k + j])) *
                                 ToFloat(input.scale[(t * k + j) / 128]) * w[j];
          sum += product;
          size += std::abs(product);
        }
        const double bound = (127 + k / 128) * 0x1p-24 * size;
        ASSERT_NEAR(ToFloat(y[t * n + i]), sum, bound + (std::abs(sum) + bound) * 0x1p-8);
      }
    }
  }
}

TEST_P(QuantLinearTest, ARowsBitsDoNotDependOnT) {
  Random random(22);
  SCOPED_TRACE(random.Trace());
  const std::pair<int64_t, int64_t> shapes[] = {{128, 128}, {128, 256}, {512, 256}, {2048, 128},
                                                {256, 512}, {384, 384}, {128, 4096}};
  for (const auto& [n, k] : shapes) {
    for (const auto format : {WeightFormat::kFp8, WeightFormat::kFp4}) {
      const bool slow = GetParam() == Device::kCpuReference;
      const int64_t tokens = slow ? 5 : 64;
      OwnedWeight owned(format, n, k, random);
      const LinearWeight weight = owned.For(kernels);
      const Input input = RandomInput(tokens, k, random);
      Tensor<Bf16, 2> all(tokens, n), one(1, n), odd(3, n);
      kernels.quant_linear({.q = input.q, .scale = input.scale, .weight = weight, .y = all},
                           stream);
      for (int64_t t = 0; t < tokens; ++t) {
        kernels.quant_linear({.q = Rows(input.q.view, t, 1),
                              .scale = Rows(input.scale.view, t, 1),
                              .weight = weight,
                              .y = one.Poison()},
                             stream);
        ASSERT_EQ(std::memcmp(one.values.data(), all.view.row(t), 2 * n), 0) << n << "x" << k;
      }
      kernels.quant_linear({.q = Rows(input.q.view, 1, 3),
                            .scale = Rows(input.scale.view, 1, 3),
                            .weight = weight,
                            .y = odd.Poison()},
                           stream);
      ASSERT_EQ(std::memcmp(odd.values.data(), all.view.row(1), 6 * n), 0);
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
