// SPDX-License-Identifier: Apache-2.0
// Goal: hc_head. Method: the golden case.
#include "kernels/hc/hc_head.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class HcHeadTest : public OnTable {};
ON_EVERY_TABLE(HcHeadTest);

TEST_P(HcHeadTest, EqualsTheGolden) {
  const Golden golden("hc");
  Tensor<Bf16, 2> x(3, 256);
  kernels.hc_head({.streams = golden.Get<Bf16, 3>("streams"),
                   .fn = golden.Get<float, 2>("h_fn"),
                   .base = golden.Get<float, 1>("h_base"),
                   .scale = golden.Get<float, 1>("h_scale"),
                   .norm_eps = 1e-6f,
                   .hc_eps = 1e-6f,
                   .x = x.Poison()},
                  stream);
  ExpectNear(x.values, golden.Get<Bf16, 2>("head").values, 1e-4);
}

}  // namespace
}  // namespace tandem::kernels
