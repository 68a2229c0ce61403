// SPDX-License-Identifier: Apache-2.0
// Goal: the FP8 and FP4 linear on a device. Method: the goldens; fresh random input against sums in
// double, at edge sizes and the model's shards; identity inputs give back each weight, at scales
// far from one too; a row's bits whatever T; twice, for the same bits.
#include <utility>

#include "kernels/gemm/quant_linear.h"
#include "tests/kernels/cuda/device.h"
#include "tests/kernels/gemm/product.h"

namespace tandem::kernels {
namespace {

using enum WeightFormat;

struct Input {
  Input(int64_t tokens, int64_t k) : q(tokens, k), scale(tokens, k / 128) {}
  std::vector<float> Values() const {
    std::vector<float> x;
    for (size_t i = 0; i < q.values.size(); ++i) {
      x.push_back(ToFloat(q[i]) * ToFloat(scale[i / 128]));
    }
    return x;
  }
  Tensor<E4M3, 2> q;
  Tensor<Ue8m0, 2> scale;
};

Input RandomInput(int64_t tokens, int64_t k, Random& random) {
  Input input(tokens, k);
  for (E4M3& q : input.q.values) {
    q.bits = static_cast<uint8_t>(random.Below(256));
    if ((q.bits & 0x7F) == 0x7F) q.bits = 0;
  }
  for (Ue8m0& s : input.scale.values) s.bits = static_cast<uint8_t>(117 + random.Below(8));
  return input;
}

class QuantLinearCudaTest : public OnDevice {
 protected:
  Tensor<Bf16, 2> Run(const LinearWeight& weight, TensorView<const E4M3, 2> q,
                      TensorView<const Ue8m0, 2> scale) {
    Tensor<Bf16, 2> poison(q.shape[0], weight.n);
    poison.Poison();
    const DeviceTensor y(poison);
    cuda.quant_linear({.q = q, .scale = scale, .weight = weight, .y = y}, stream);
    Wait();
    return y.Fetch();
  }
  Tensor<Bf16, 2> Run(const OwnedWeight& weight, const Input& input) {
    const DeviceWeights prepared({&weight});
    const DeviceTensor q(input.q);
    const DeviceTensor scale(input.scale);
    Tensor<Bf16, 2> y = Run(prepared[0], q, scale);
    EXPECT_TRUE(y.values == Run(prepared[0], q, scale).values);
    return y;
  }
  // y = I·Wᵀ, so row k of y is column k of W times the input's scale; few tokens at a time, since
  // tiles are for scales nearer to one.
  void ExpectTheSameMatrix(const OwnedWeight& owned, uint8_t input_scale) {
    constexpr int64_t kRows = 64;
    const LinearWeight& weight = owned.plain();
    std::vector<float> row(weight.k);
    for (int64_t first = 0; first < weight.k; first += kRows) {
      Input identity(kRows, weight.k);
      for (Ue8m0& s : identity.scale.values) s.bits = input_scale;
      for (int64_t j = 0; j < kRows; ++j) identity.q[j * weight.k + first + j] = ToE4M3(1);
      const Tensor<Bf16, 2> y = Run(owned, identity);
      for (int64_t i = 0; i < weight.n; ++i) {
        ReadWeightRow(weight, i, row.data());
        for (int64_t j = 0; j < kRows; ++j) {
          ASSERT_EQ(ToFloat(y[j * weight.n + i]), row[first + j] * ToFloat(Ue8m0{input_scale}));
        }
      }
    }
  }
};

TEST_F(QuantLinearCudaTest, EqualsTheGoldens) {
  const Golden golden("linears");
  const auto x = golden.Get<Bf16, 2>("x");
  Input input(3, 256);
  reference.act_quant({.x = x, .q = input.q, .scale = input.scale}, host);
  const OwnedWeight w8(kFp8, 128, 256, golden.bytes("w8"), golden.bytes("s8"));
  const OwnedWeight w4(kFp4, 64, 256, golden.bytes("w4"), golden.bytes("s4"));
  ExpectNear(Run(w8, input).values, golden.Get<Bf16, 2>("y8").values, 1e-5);
  ExpectNear(Run(w4, input).values, golden.Get<Bf16, 2>("y4").values, 1e-5);
}

TEST_F(QuantLinearCudaTest, StaysWithinTheBoundOfItsSums) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  struct Shape {
    WeightFormat format;
    int64_t n, k;
  };
  const Shape shapes[] = {{kFp8, 128, 128}, {kFp8, 128, 256},  {kFp8, 384, 384}, {kFp8, 128, 4096},
                          {kFp4, 1, 128},   {kFp4, 15, 256},   {kFp4, 16, 384},  {kFp4, 17, 512},
                          {kFp4, 129, 128}, {kFp4, 128, 2048}, {kFp8, 512, 128}, {kFp8, 256, 1152}};
  for (const auto& [format, n, k] : shapes) {
    const OwnedWeight weight(format, n, k, random);
    for (const int64_t tokens : {1, 2, 7, 8, 9, 16, 17, 32, 33, 63, 64, 65, 130}) {
      const Input input = RandomInput(tokens, k, random);
      ExpectProduct({.weight = weight.plain(), .x = input.Values(), .tokens = tokens, .rows = 24},
                    Run(weight, input).values, random);
    }
  }
}

// Flash and Pro, whole and in shards of 2, 4 and 8.
TEST_F(QuantLinearCudaTest, HoldsAtTheModelsShapesAndARowsBitsDoNotDependOnT) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  const std::pair<int64_t, int64_t> shapes[] = {
      {16384, 1024}, {4096, 1024}, {2048, 1024}, {4096, 4096}, {4096, 512},  {1024, 4096},
      {512, 4096},   {256, 4096},  {7168, 2048}, {1536, 7168}, {1536, 1536}, {640, 384}};
  for (const auto& [n, k] : shapes) {
    const OwnedWeight weight(kFp8, n, k, random);
    const DeviceWeights prepared({&weight});
    const Input input = RandomInput(64, k, random);
    const DeviceTensor q(input.q);
    const DeviceTensor scale(input.scale);
    const Tensor<Bf16, 2> all = Run(prepared[0], q, scale);
    ExpectProduct({.weight = weight.plain(), .x = input.Values(), .tokens = 64, .rows = 12},
                  all.values, random);
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 1},
                                       {63, 1},
                                       {5, 2},
                                       {9, 3},
                                       {1, 8},
                                       {3, 9},
                                       {48, 16},
                                       {7, 17},
                                       {30, 32},
                                       {10, 33}}) {
      const Tensor<Bf16, 2> some =
          Run(prepared[0], Rows(q.view(), first, count), Rows(scale.view(), first, count));
      ASSERT_EQ(std::memcmp(some.values.data(), all.view.row(first), 2 * count * n), 0)
          << n << "x" << k << ", " << count << " tokens from " << first;
    }
  }
}

TEST_F(QuantLinearCudaTest, GivesBackEveryWeightAtScalesFarFromOne) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  ExpectTheSameMatrix(OwnedWeight(kFp8, 128, 256, random), 127);
  ExpectTheSameMatrix(OwnedWeight(kFp4, 21, 128, random), 127);
  std::vector<uint8_t> bytes(128 * 128), pairs(16 * 64);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.Below(127));
  for (uint8_t& b : pairs) b = static_cast<uint8_t>(random.Below(256));
  for (const uint8_t scale : {uint8_t{10}, uint8_t{246}}) {
    const OwnedWeight fp8(kFp8, 128, 128, bytes, {scale});
    ExpectTheSameMatrix(fp8, 127);
    ExpectTheSameMatrix(fp8, scale == 10 ? 240 : 20);
  }
  for (const uint8_t scale : {uint8_t{40}, uint8_t{220}}) {
    ExpectTheSameMatrix(OwnedWeight(kFp4, 16, 128, pairs, std::vector<uint8_t>(16 * 4, scale)),
                        127);
  }
}

}  // namespace
}  // namespace tandem::kernels
