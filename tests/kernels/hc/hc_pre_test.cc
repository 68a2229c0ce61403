// SPDX-License-Identifier: Apache-2.0
// Goal: hc_pre. Method: the golden case (mixing weights in fp32 sums move a pre, post or comb value
// by 1e-5 at most); comb is doubly stochastic but for eps; bits independent of T.
#include "kernels/hc/hc_pre.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class HcPreTest : public OnTable {
 protected:
  HcPreArgs Args(const Golden& golden) {
    fn = golden.Get<float, 2>("p_fn").values;
    base = golden.Get<float, 1>("p_base").values;
    scale = golden.Get<float, 1>("p_scale").values;
    return {.fn = {fn.data(), {24, 1024}},
            .base = {base.data(), {24}},
            .scale = {scale.data(), {3}},
            .norm_eps = 1e-6f,
            .hc_eps = 1e-6f,
            .iterations = 20};
  }
  std::vector<float> fn, base, scale;
};
ON_EVERY_TABLE(HcPreTest);

TEST_P(HcPreTest, EqualsTheGolden) {
  const Golden golden("hc");
  const auto streams = golden.Get<Bf16, 3>("streams");
  Tensor<Bf16, 2> x(3, 256);
  Tensor<float, 2> post(3, 4);
  Tensor<float, 3> comb(3, 4, 4);
  HcPreArgs args = Args(golden);
  args.streams = streams;
  args.x = x.Poison();
  args.post = post.Poison();
  args.comb = comb.Poison();
  kernels.hc_pre(args, stream);
  ExpectNear(x.values, golden.Get<Bf16, 2>("x").values, 1e-4);
  ExpectNear(post.values, golden.Get<float, 2>("post").values, 0, 1e-5);
  ExpectNear(comb.values, golden.Get<float, 3>("comb").values, 0, 1e-5);
  for (int t = 0; t < 3; ++t) {
    for (int k = 0; k < 4; ++k) {
      float sum = 0;
      for (int j = 0; j < 4; ++j) sum += comb[t * 16 + j * 4 + k];
      EXPECT_NEAR(sum, 1, 1e-5);
    }
  }
}

TEST_P(HcPreTest, ATokensBitsDoNotDependOnItsNeighbours) {
  Random random(51);
  SCOPED_TRACE(random.Trace());
  const Golden golden("hc");
  HcPreArgs args = Args(golden);
  Tensor<Bf16, 3> streams(9, 4, 256);
  random.Fill(streams, 2);
  Tensor<Bf16, 2> x(9, 256), x1(1, 256);
  Tensor<float, 2> post(9, 4), post1(1, 4);
  Tensor<float, 3> comb(9, 4, 4), comb1(1, 4, 4);
  args.streams = streams;
  args.x = x;
  args.post = post;
  args.comb = comb;
  kernels.hc_pre(args, stream);
  for (int t = 0; t < 9; ++t) {
    args.streams = Rows(streams.view, t, 1);
    args.x = x1;
    args.post = post1;
    args.comb = comb1;
    kernels.hc_pre(args, stream);
    ASSERT_EQ(std::memcmp(x1.values.data(), x.view.row(t), 512), 0);
    ASSERT_EQ(std::memcmp(post1.values.data(), post.view.row(t), 16), 0);
    ASSERT_EQ(std::memcmp(comb1.values.data(), comb.view.row(t), 64), 0);
  }
}

}  // namespace
}  // namespace tandem::kernels
