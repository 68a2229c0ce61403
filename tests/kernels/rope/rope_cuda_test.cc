// SPDX-License-Identifier: Apache-2.0
// Goal: rope and rope_table on a device. Method: positions over the whole range, both kinds of
// frequencies: tables within one fp32 step of the reference (one value in a billion may round the
// other way), rotations exact; values before the last 64 untouched; the inverse too.
#include <cmath>

#include "kernels/rope/rope.h"
#include "kernels/rope/rope_table.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

using RopeCudaTest = OnDevice;

TEST_F(RopeCudaTest, TableEqualsTheReference) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const RopeScaling& scaling : {RopeScaling{.base = 10000}, RopeScaling{.base = 160000,
                                                                 .factor = 16,
                                                                 .original_positions = 65536,
                                                                 .beta_fast = 32,
                                                                 .beta_slow = 1}}) {
    for (const int64_t tokens : {1, 3, 4, 5, 5000}) {
      Tensor<int32_t, 1> positions(tokens);
      Tensor<float, 1> frequencies(32);
      Tensor<float, 2> cos(tokens, 32), sin(tokens, 32), poison(tokens, 32);
      RopeFrequencies(scaling, frequencies);
      for (int64_t t = 0; t < tokens; ++t) {
        positions[t] = static_cast<int32_t>(t % 2 == 0 ? t : random.Below(1 << 20));
      }
      reference.rope_table(
          {.positions = positions, .frequencies = frequencies, .cos = cos, .sin = sin}, host);
      const DeviceTensor dp(positions);
      const DeviceTensor df(frequencies);
      poison.Poison();
      const DeviceTensor dcos(poison), dsin(poison);
      cuda.rope_table({.positions = dp, .frequencies = df, .cos = dcos, .sin = dsin}, stream);
      Wait();
      ExpectNear(dcos.Fetch().values, cos.values, 1.2e-7, 0);
      ExpectNear(dsin.Fetch().values, sin.values, 1.2e-7, 0);
    }
  }
}

TEST_F(RopeCudaTest, RotationIsExact) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 3, 65}) {
    for (const int64_t heads : {1, 3, 64}) {
      for (const int64_t dim : {64, 65, 128, 512}) {
        for (const bool inverse : {false, true}) {
          Tensor<Bf16, 3> x(tokens, heads, dim);
          Tensor<float, 2> cos(tokens, 32), sin(tokens, 32);
          random.Fill(x, 3);
          for (int64_t i = 0; i < tokens * 32; ++i) {
            const float angle = 10 * random.Normal();
            cos[i] = std::cos(angle);
            sin[i] = std::sin(angle);
          }
          const DeviceTensor dx(x);
          const DeviceTensor dcos(cos), dsin(sin);
          reference.rope({.x = x, .cos = cos, .sin = sin, .inverse = inverse}, host);
          cuda.rope({.x = dx, .cos = dcos, .sin = dsin, .inverse = inverse}, stream);
          Wait();
          ASSERT_TRUE(dx.Fetch().values == x.values);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
