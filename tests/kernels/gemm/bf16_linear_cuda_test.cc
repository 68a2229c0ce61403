// SPDX-License-Identifier: Apache-2.0
// Goal: the BF16 linear on a device. Method: the golden; fresh random input against sums in double
// at sizes that fill neither a tile nor a step, and at the model's; a row's bits whatever T; twice,
// for the same bits.
#include <utility>

#include "kernels/gemm/bf16_linear.h"
#include "tests/kernels/cuda/device.h"
#include "tests/kernels/gemm/product.h"

namespace tandem::kernels {
namespace {

std::vector<float> Values(const Tensor<Bf16, 2>& x) {
  std::vector<float> values;
  for (const Bf16 v : x.values) values.push_back(ToFloat(v));
  return values;
}

class Bf16LinearCudaTest : public OnDevice {
 protected:
  Tensor<float, 2> Run(const LinearWeight& weight, TensorView<const Bf16, 2> x) {
    Tensor<float, 2> poison(x.shape[0], weight.n);
    poison.Poison();
    const DeviceTensor y(poison), again(poison);
    cuda.bf16_linear({.x = x, .weight = weight, .y = y}, stream);
    cuda.bf16_linear({.x = x, .weight = weight, .y = again}, stream);
    Wait();
    Tensor<float, 2> out = y.Fetch();
    EXPECT_EQ(std::memcmp(out.values.data(), again.Fetch().values.data(), 4 * out.values.size()),
              0);
    return out;
  }
};

TEST_F(Bf16LinearCudaTest, EqualsTheGolden) {
  const Golden golden("linears");
  const OwnedWeight weight(WeightFormat::kBf16, 10, 256, golden.bytes("wb"), {});
  const DeviceWeights prepared({&weight});
  const DeviceTensor x(golden.Get<Bf16, 2>("x"));
  ExpectNear(Run(prepared[0], x).values, golden.Get<float, 2>("yb").values, 1e-6, 1e-5);
}

TEST_F(Bf16LinearCudaTest, StaysWithinTheBoundOfItsSums) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  const std::pair<int64_t, int64_t> shapes[] = {{1, 1},    {10, 130}, {15, 31},   {16, 32},
                                                {17, 33},  {16, 64},  {31, 63},   {33, 65},
                                                {16, 256}, {17, 384}, {33, 2048}, {100, 1000}};
  for (const auto& [n, k] : shapes) {
    const OwnedWeight weight(WeightFormat::kBf16, n, k, random);
    const DeviceWeights prepared({&weight});
    for (const int64_t tokens : {1, 7, 8, 9, 17, 33, 64, 65, 131}) {
      Tensor<Bf16, 2> x(tokens, k);
      random.Fill(x);
      const DeviceTensor device(x);
      ExpectProduct({.weight = weight.plain(), .x = Values(x), .tokens = tokens, .rows = 40},
                    Run(prepared[0], device).values, random);
    }
  }
}

// The router, the compressors, weights_proj and a shard of the LM head.
TEST_F(Bf16LinearCudaTest, HoldsAtTheModelsShapesAndARowsBitsDoNotDependOnT) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  const std::pair<int64_t, int64_t> shapes[] = {{256, 4096}, {1024, 4096}, {64, 4096},
                                                {384, 7168}, {16160, 512}, {77, 1111}};
  for (const auto& [n, k] : shapes) {
    const OwnedWeight weight(WeightFormat::kBf16, n, k, random);
    const DeviceWeights prepared({&weight});
    Tensor<Bf16, 2> x(64, k);
    random.Fill(x);
    const DeviceTensor device(x);
    const Tensor<float, 2> all = Run(prepared[0], device);
    ExpectProduct({.weight = weight.plain(), .x = Values(x), .tokens = 64, .rows = 12}, all.values,
                  random);
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 1},
                                       {63, 1},
                                       {5, 2},
                                       {1, 8},
                                       {3, 9},
                                       {48, 16},
                                       {7, 17},
                                       {30, 32},
                                       {10, 33}}) {
      const Tensor<float, 2> some = Run(prepared[0], Rows(device.view(), first, count));
      ASSERT_EQ(std::memcmp(some.values.data(), all.view.row(first), 4 * count * n), 0)
          << n << "x" << k << ", " << count << " tokens from " << first;
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
