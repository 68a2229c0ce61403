// SPDX-License-Identifier: Apache-2.0
// Goal: act_quant, fp4_quant and hadamard on a device, exactly. Method: fresh random input over
// many magnitudes, with zeros, infinities and values half-way between codes, against the reference;
// twice.
#include <limits>

#include "kernels/quant/act_quant.h"
#include "kernels/quant/fp4_quant.h"
#include "kernels/quant/hadamard.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

class QuantCudaTest : public OnDevice {
 protected:
  // Groups of 32 of one magnitude; some of few different values, so that they meet every tie.
  void Fill(Tensor<Bf16, 2>& x, bool extremes) {
    for (int64_t i = 0; i < x.view.size(); ++i) {
      const int64_t group = i / 32;
      const float scale = std::exp2(static_cast<float>(group % 60 - 30));
      const float coarse = static_cast<float>(random_.Below(49) - 24) / 4;
      x[i] = ToBf16(scale * (group % 2 == 0 ? coarse : random_.Normal()));
    }
    if (!extremes) return;
    std::fill_n(x.values.begin(), 32, Bf16{0});
    std::fill_n(x.values.begin() + 32, 32, Bf16{0x8000});
    std::fill_n(x.values.begin() + 64, 32, Bf16{1});  // the least subnormal
    x[101] = ToBf16(std::numeric_limits<float>::infinity());
  }
  Random random_{std::random_device{}()};
};

TEST_F(QuantCudaTest, ActQuantEqualsTheReference) {
  SCOPED_TRACE(random_.Trace());
  for (const int64_t tokens : {1, 3, 65}) {
    for (const int64_t k : {128, 384, 1024, 4096, 7168}) {
      Tensor<Bf16, 2> x(tokens, k);
      Fill(x, true);
      Tensor<E4M3, 2> q(tokens, k), poison(tokens, k);
      Tensor<Ue8m0, 2> scale(tokens, k / 128), poison_scale(tokens, k / 128);
      reference.act_quant({.x = x, .q = q, .scale = scale}, host);
      const DeviceTensor dx(x);
      const DeviceTensor dq(poison.Poison());
      const DeviceTensor again(poison);
      const DeviceTensor dscale(poison_scale.Poison());
      cuda.act_quant({.x = dx, .q = dq, .scale = dscale}, stream);
      cuda.act_quant({.x = dx, .q = again, .scale = dscale}, stream);
      Wait();
      EXPECT_TRUE(dq.Fetch().values == q.values);
      EXPECT_TRUE(dscale.Fetch().values == scale.values);
      EXPECT_TRUE(again.Fetch().values == q.values);
    }
  }
}

TEST_F(QuantCudaTest, Fp4QuantEqualsTheReference) {
  SCOPED_TRACE(random_.Trace());
  for (const int64_t rows : {1, 2, 15, 16, 17, 64, 4096}) {
    Tensor<Bf16, 2> x(rows, 128);
    Fill(x, true);
    x[101] = Bf16{0x4700};
    Tensor<uint8_t, 2> q(rows, 64), poison(rows, 64);
    Tensor<Ue8m0, 2> scale(rows, 4), poison_scale(rows, 4);
    reference.fp4_quant({.x = x, .q = q, .scale = scale}, host);
    const DeviceTensor dx(x);
    const DeviceTensor dq(poison.Poison());
    const DeviceTensor again(poison);
    const DeviceTensor dscale(poison_scale.Poison());
    cuda.fp4_quant({.x = dx, .q = dq, .scale = dscale}, stream);
    cuda.fp4_quant({.x = dx, .q = again, .scale = dscale}, stream);
    Wait();
    EXPECT_EQ(dq.Fetch().values, q.values);
    EXPECT_TRUE(dscale.Fetch().values == scale.values);
    EXPECT_EQ(again.Fetch().values, q.values);
  }
}

TEST_F(QuantCudaTest, HadamardEqualsTheReference) {
  SCOPED_TRACE(random_.Trace());
  for (const int64_t rows : {1, 2, 15, 16, 17, 64, 4096}) {
    Tensor<Bf16, 2> x(rows, 128);
    Fill(x, false);
    const DeviceTensor dx(x);
    const DeviceTensor again(x);
    reference.hadamard({.x = x}, host);
    cuda.hadamard({.x = dx}, stream);
    cuda.hadamard({.x = again}, stream);
    Wait();
    EXPECT_TRUE(dx.Fetch().values == x.values);
    EXPECT_TRUE(again.Fetch().values == x.values);
  }
}

}  // namespace
}  // namespace tandem::kernels
