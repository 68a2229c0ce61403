// SPDX-License-Identifier: Apache-2.0
// Goal: rms_norm on a device. Method: fresh random input, edge sizes and the model's, against the
// reference; twice, for the same bits.
#include "kernels/norm/rms_norm.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

using RmsNormCudaTest = OnDevice;

TEST_F(RmsNormCudaTest, EqualsTheReference) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 3, 64}) {
    for (const int64_t dim : {1, 31, 256, 257, 512, 1024, 4096, 7168}) {
      Tensor<Bf16, 2> x(tokens, dim), expected(tokens, dim), poison(tokens, dim);
      Tensor<Bf16, 1> weight(dim);
      random.Fill(x, 3);
      random.Fill(weight);
      poison.Poison();
      reference.rms_norm({.x = x, .weight = weight, .eps = 1e-6f, .y = expected}, host);
      const DeviceTensor dx(x), dy(poison), again(poison);
      const DeviceTensor dw(weight);
      cuda.rms_norm({.x = dx, .weight = dw, .eps = 1e-6f, .y = dy}, stream);
      cuda.rms_norm({.x = dx, .weight = dw, .eps = 1e-6f, .y = again}, stream);
      Wait();
      ExpectNear(dy.Fetch().values, expected.values);
      EXPECT_TRUE(dy.Fetch().values == again.Fetch().values);
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
