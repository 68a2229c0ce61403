// SPDX-License-Identifier: Apache-2.0
// Goal: head_norm on a device. Method: fresh random input, edge sizes and the model's, against the
// reference; twice, for the same bits.
#include "kernels/norm/head_norm.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

using HeadNormCudaTest = OnDevice;

TEST_F(HeadNormCudaTest, EqualsTheReference) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 3, 65}) {
    for (const int64_t heads : {1, 5, 64}) {
      for (const int64_t dim : {1, 31, 64, 264, 512, 520}) {
        Tensor<Bf16, 3> q(tokens, heads, dim);
        random.Fill(q, 3);
        const DeviceTensor dq(q), again(q);
        reference.head_norm({.q = q, .eps = 1e-6f}, host);
        cuda.head_norm({.q = dq, .eps = 1e-6f}, stream);
        cuda.head_norm({.q = again, .eps = 1e-6f}, stream);
        Wait();
        ExpectNear(dq.Fetch().values, q.values);
        EXPECT_TRUE(dq.Fetch().values == again.Fetch().values);
      }
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
