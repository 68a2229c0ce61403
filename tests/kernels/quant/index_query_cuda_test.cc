// SPDX-License-Identifier: Apache-2.0
// Goal: index_query on a device, exactly. Method: fresh random input over many magnitudes, with
// zeros and infinities, against the reference; twice.
#include <limits>

#include "kernels/quant/index_query.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

using IndexQueryCudaTest = OnDevice;

TEST_F(IndexQueryCudaTest, EqualsTheReference) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 3, 64}) {
    for (const int64_t heads : {1, 4, 17, 64}) {
      Tensor<Bf16, 3> x(tokens, heads, 128);
      Tensor<float, 2> cos(tokens, 32), sin(tokens, 32);
      for (int64_t i = 0; i < x.view.size(); ++i) {
        x[i] = ToBf16(random.Normal() * std::exp2(static_cast<float>(i / 128 % 40 - 20)));
      }
      std::fill_n(x.values.begin(), 128, Bf16{0});
      for (int64_t i = 0; i < cos.view.size(); ++i) {
        const float angle = 10 * random.Normal();
        cos[i] = std::cos(angle);
        sin[i] = std::sin(angle);
      }
      if (heads > 4) x[2 * 128 + 3] = ToBf16(std::numeric_limits<float>::infinity());
      Tensor<uint8_t, 3> q(tokens, heads, 64), poison_q(tokens, heads, 64);
      Tensor<Ue8m0, 3> scale(tokens, heads, 4), poison_scale(tokens, heads, 4);
      poison_q.Poison();
      poison_scale.Poison();
      reference.index_query({.x = x, .cos = cos, .sin = sin, .q = q, .scale = scale}, host);
      const DeviceTensor dx(x);
      const DeviceTensor dcos(cos);
      const DeviceTensor dsin(sin);
      const DeviceTensor dq(poison_q);
      const DeviceTensor again(poison_q);
      const DeviceTensor dscale(poison_scale);
      cuda.index_query({.x = dx, .cos = dcos, .sin = dsin, .q = dq, .scale = dscale}, stream);
      cuda.index_query({.x = dx, .cos = dcos, .sin = dsin, .q = again, .scale = dscale}, stream);
      Wait();
      auto actual = dq.Fetch().values;
      if (heads > 4) {  // a row that is no number keeps its scales only
        std::fill_n(actual.begin() + 2 * 64, 64, uint8_t{0});
        std::fill_n(q.values.begin() + 2 * 64, 64, uint8_t{0});
      }
      EXPECT_EQ(actual, q.values);
      EXPECT_TRUE(dscale.Fetch().values == scale.values);
      EXPECT_TRUE(dq.Fetch().values == again.Fetch().values);
      EXPECT_TRUE(dx.Fetch().values == x.values);
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
