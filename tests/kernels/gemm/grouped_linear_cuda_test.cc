// SPDX-License-Identifier: Apache-2.0
// Goal: wo_a on a device. Method: the golden group; fresh random input against sums in double, FP8
// and BF16 weights, at edge sizes and the model's shards; a row's bits whatever T; twice, for the
// same bits.
#include <utility>

#include "kernels/gemm/grouped_linear.h"
#include "tests/kernels/cuda/device.h"
#include "tests/kernels/gemm/product.h"

namespace tandem::kernels {
namespace {

using enum WeightFormat;

std::vector<float> Values(const Tensor<Bf16, 3>& x) {
  std::vector<float> values;
  for (const Bf16 v : x.values) values.push_back(ToFloat(v));
  return values;
}

struct Shape {
  WeightFormat format;
  int64_t groups, rank, k;
};

class GroupedLinearCudaTest : public OnDevice {
 protected:
  Tensor<Bf16, 3> Run(const LinearWeight& weight, TensorView<const Bf16, 3> x) {
    Tensor<Bf16, 3> poison(x.shape[0], x.shape[1], weight.n / x.shape[1]);
    poison.Poison();
    const DeviceTensor y(poison), again(poison);
    cuda.grouped_linear({.x = x, .weight = weight, .y = y}, stream);
    cuda.grouped_linear({.x = x, .weight = weight, .y = again}, stream);
    Wait();
    Tensor<Bf16, 3> out = y.Fetch();
    EXPECT_TRUE(out.values == again.Fetch().values);
    return out;
  }
};

TEST_F(GroupedLinearCudaTest, EqualsTheGolden) {
  const Golden golden("linears");
  const OwnedWeight weight(kFp8, 128, 256, golden.bytes("w8"), golden.bytes("s8"));
  const DeviceWeights prepared({&weight});
  const DeviceTensor x(golden.Get<Bf16, 3>("o"));
  ExpectNear(Run(prepared[0], x).values, golden.Get<Bf16, 3>("z").values, 1e-5);
}

TEST_F(GroupedLinearCudaTest, StaysWithinTheBoundOfItsSums) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  const Shape shapes[] = {{kFp8, 1, 128, 128}, {kFp8, 3, 128, 256}, {kFp8, 8, 16, 384},
                          {kFp8, 2, 192, 256}, {kBf16, 1, 16, 1},   {kBf16, 3, 16, 31},
                          {kBf16, 2, 48, 65},  {kBf16, 2, 32, 128}, {kBf16, 5, 16, 1000}};
  for (const auto& [format, groups, rank, k] : shapes) {
    const OwnedWeight weight(format, groups * rank, k, random);
    const DeviceWeights prepared({&weight});
    for (const int64_t tokens : {1, 7, 8, 9, 17, 33, 64, 65, 131}) {
      Tensor<Bf16, 3> x(tokens, groups, k);
      random.Fill(x, 3);
      const DeviceTensor device(x);
      ExpectProduct({.weight = weight.plain(),
                     .x = Values(x),
                     .tokens = tokens,
                     .groups = groups,
                     .rows = 32},
                    Run(prepared[0], device).values, random);
    }
  }
}

// Flash in shards of 1, 2, 4 and 8; Pro in two of 8.
TEST_F(GroupedLinearCudaTest, HoldsAtTheModelsShapesAndARowsBitsDoNotDependOnT) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const auto& [format, groups, rank, k] :
       {Shape{kFp8, 8, 1024, 4096}, Shape{kFp8, 4, 1024, 4096}, Shape{kFp8, 2, 1024, 4096},
        Shape{kFp8, 1, 1024, 4096}, Shape{kFp8, 2, 1024, 4096}, Shape{kBf16, 2, 128, 512}}) {
    const OwnedWeight weight(format, groups * rank, k, random);
    const DeviceWeights prepared({&weight});
    Tensor<Bf16, 3> x(64, groups, k);
    random.Fill(x);
    const DeviceTensor device(x);
    const Tensor<Bf16, 3> all = Run(prepared[0], device);
    ExpectProduct(
        {.weight = weight.plain(), .x = Values(x), .tokens = 64, .groups = groups, .rows = 12},
        all.values, random);
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 1},
                                       {63, 1},
                                       {5, 2},
                                       {1, 8},
                                       {3, 9},
                                       {48, 16},
                                       {7, 17},
                                       {30, 32},
                                       {10, 33}}) {
      const Tensor<Bf16, 3> some = Run(prepared[0], Rows(device.view(), first, count));
      ASSERT_EQ(std::memcmp(some.values.data(), all.view.row(first), 2 * count * groups * rank), 0)
          << groups << " groups, " << count << " tokens from " << first;
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
