// SPDX-License-Identifier: Apache-2.0
// Goal: hc_head on a device. Method: as hc_pre_cuda_test.cc.
#include "tests/kernels/hc/hc_case.h"

namespace tandem::kernels {
namespace {

using HcHeadCudaTest = OnDevice;

TEST_F(HcHeadCudaTest, EqualsTheReference) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 3, 16, 17, 64, 65, 520}) {
    for (const int64_t dim : {32, 256, 4096, 7168}) {
      if (tokens > 65 && dim > 256) continue;
      const HcCase c(tokens, dim, 4, random);
      const HcDeviceCase d(c), again(c);
      Tensor<Bf16, 2> x(tokens, dim);
      reference.hc_head({.streams = c.streams,
                         .fn = c.fn,
                         .base = c.base,
                         .scale = c.scale,
                         .norm_eps = 1e-6f,
                         .hc_eps = 1e-6f,
                         .x = x},
                        host);
      for (const HcDeviceCase* run : {&d, &again}) {
        cuda.hc_head({.streams = run->streams,
                      .fn = run->fn,
                      .base = run->base,
                      .scale = run->scale,
                      .norm_eps = 1e-6f,
                      .hc_eps = 1e-6f,
                      .x = run->x},
                     stream);
      }
      Wait();
      ExpectNear(d.x.Fetch().values, x.values, 1e-4);
      ExpectSameBits(d.x.Fetch().values, again.x.Fetch().values);
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
