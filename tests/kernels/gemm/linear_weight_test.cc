// SPDX-License-Identifier: Apache-2.0
// Goal: checkpoint formats decode exactly and a prepared weight is the same matrix. Method: rows
// against the formats' definitions; identity inputs through the product of every table give back
// each weight exactly.
#include "kernels/gemm/linear_weight.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

TEST(LinearWeightTest, Fp8TakesOneScaleABlock) {
  std::vector<uint8_t> bytes(256 * 256), scales = {127, 128, 129, 0};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i % 127);
  const OwnedWeight weight(WeightFormat::kFp8, 256, 256, bytes, scales);
  std::vector<float> row(256);
  for (const int n : {0, 127, 128, 255}) {
    ReadWeightRow(weight.plain(), n, row.data());
    for (int k = 0; k < 256; ++k) {
      const float scale = ToFloat(Ue8m0{scales[n / 128 * 2 + k / 128]});
      ASSERT_EQ(row[k], ToFloat(E4M3{bytes[n * 256 + k]}) * scale);
    }
  }
}

TEST(LinearWeightTest, Fp4TakesTheLowNibbleFirstAndOneScalePer32) {
  std::vector<uint8_t> bytes(2 * 64), scales = {127, 128, 126, 130, 120, 121, 122, 123};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(37 * i);
  const OwnedWeight weight(WeightFormat::kFp4, 2, 128, bytes, scales);
  std::vector<float> row(128);
  for (int n = 0; n < 2; ++n) {
    ReadWeightRow(weight.plain(), n, row.data());
    for (int k = 0; k < 128; ++k) {
      const uint8_t byte = bytes[n * 64 + k / 2];
      const float value = E2M1ToFloat(k % 2 == 0 ? byte & 15 : byte >> 4);
      ASSERT_EQ(row[k], value * ToFloat(Ue8m0{scales[n * 4 + k / 32]}));
    }
  }
}

class PreparedWeightTest : public OnTable {
 protected:
  // y = I·Wᵀ, so row k of y is column k of W.
  void ExpectTheSameMatrix(OwnedWeight& weight) {
    const int64_t n = weight.plain().n, k = weight.plain().k;
    Tensor<E4M3, 2> q(k, k);
    Tensor<Ue8m0, 2> scale(k, k / 128);
    for (Ue8m0& s : scale.values) s.bits = 127;
    for (int64_t i = 0; i < k; ++i) q[i * k + i] = ToE4M3(1);
    Tensor<Bf16, 2> y(k, n);
    kernels.quant_linear({.q = q, .scale = scale, .weight = weight.For(kernels), .y = y}, stream);
    std::vector<float> row(k);
    for (int64_t i = 0; i < n; ++i) {
      ReadWeightRow(weight.plain(), i, row.data());
      for (int64_t j = 0; j < k; ++j) ASSERT_EQ(ToFloat(y[j * n + i]), row[j]) << i << " " << j;
    }
  }
};
ON_EVERY_TABLE(PreparedWeightTest);

TEST_P(PreparedWeightTest, IsTheSameMatrix) {
  Random random(3);
  OwnedWeight fp8(WeightFormat::kFp8, 128, 256, random), fp4(WeightFormat::kFp4, 21, 128, random);
  ExpectTheSameMatrix(fp8);
  ExpectTheSameMatrix(fp4);
}

TEST_P(PreparedWeightTest, ScalesAtTheEdgeOfBf16StayExact) {
  Random random(4);
  std::vector<uint8_t> bytes(128 * 128);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.Below(127));
  for (const uint8_t scale : {uint8_t{10}, uint8_t{246}}) {
    OwnedWeight weight(WeightFormat::kFp8, 128, 128, bytes, {scale});
    ExpectTheSameMatrix(weight);
  }
}

TEST(PreparedWeightTest, AScaleBeyondBf16KeepsTheCheckpointBytes) {
  OwnedWeight weight(WeightFormat::kFp8, 128, 128, std::vector<uint8_t>(128 * 128, 1), {9});
  EXPECT_EQ(weight.For(kCpuKernels).prepared, nullptr);
  OwnedWeight inside(WeightFormat::kFp8, 128, 128, std::vector<uint8_t>(128 * 128, 1), {10});
  EXPECT_NE(inside.For(kCpuKernels).prepared, nullptr);
}

}  // namespace
}  // namespace tandem::kernels
