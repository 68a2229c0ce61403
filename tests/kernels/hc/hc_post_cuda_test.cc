// SPDX-License-Identifier: Apache-2.0
// Goal: hc_post on a device. Method: fresh random input, one to eight streams, sizes with and
// without whole vectors, against the reference; twice, for the same bits.
#include "tests/kernels/hc/hc_case.h"

namespace tandem::kernels {
namespace {

using HcPostCudaTest = OnDevice;

TEST_F(HcPostCudaTest, EqualsTheReference) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 2, 65}) {
    for (const int64_t streams : {1, 4, 8}) {
      for (const int64_t dim : {1, 31, 256, 520, 4096, 7168}) {
        Tensor<Bf16, 3> x(tokens, streams, dim);
        Tensor<Bf16, 2> y(tokens, dim);
        Tensor<float, 2> post(tokens, streams);
        Tensor<float, 3> comb(tokens, streams, streams);
        random.Fill(x, 2);
        random.Fill(y, 2);
        random.Fill(post);
        random.Fill(comb);
        const DeviceTensor dx(x), again(x);
        const DeviceTensor dy(y);
        const DeviceTensor dpost(post);
        const DeviceTensor dcomb(comb);
        reference.hc_post({.y = y, .post = post, .comb = comb, .streams = x}, host);
        cuda.hc_post({.y = dy, .post = dpost, .comb = dcomb, .streams = dx}, stream);
        cuda.hc_post({.y = dy, .post = dpost, .comb = dcomb, .streams = again}, stream);
        Wait();
        ExpectNear(dx.Fetch().values, x.values, 1e-5);
        ExpectSameBits(dx.Fetch().values, again.Fetch().values);
      }
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
