// SPDX-License-Identifier: Apache-2.0
// Goal: hc_pre_norm_quant is its three operations. Method: both ways on the same table, bit for
// bit.
#include "kernels/hc/hc_pre_norm_quant.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class HcPreNormQuantTest : public OnTable {};
ON_EVERY_TABLE(HcPreNormQuantTest);

TEST_P(HcPreNormQuantTest, IsItsThreeOperations) {
  constexpr int64_t kTokens = 3, kDim = 256;
  Random random(52);
  SCOPED_TRACE(random.Trace());
  const Golden golden("hc");
  Tensor<Bf16, 3> streams(kTokens, 4, kDim);
  Tensor<Bf16, 1> norm(kDim);
  random.Fill(streams, 2);
  random.Fill(norm);
  const auto fn = golden.Get<float, 2>("p_fn");
  const auto base = golden.Get<float, 1>("p_base"), scale = golden.Get<float, 1>("p_scale");
  Tensor<Bf16, 2> x(kTokens, kDim), expected_x(kTokens, kDim);
  Tensor<E4M3, 2> q(kTokens, kDim), expected_q(kTokens, kDim);
  Tensor<Ue8m0, 2> q_scale(kTokens, kDim / 128), expected_scale(kTokens, kDim / 128);
  Tensor<float, 2> post(kTokens, 4), expected_post(kTokens, 4);
  Tensor<float, 3> comb(kTokens, 4, 4), expected_comb(kTokens, 4, 4);
  HcPreNormQuantArgs args{.streams = streams,
                          .fn = fn,
                          .base = base,
                          .scale = scale,
                          .norm = norm,
                          .norm_eps = 1e-6f,
                          .hc_eps = 1e-6f,
                          .iterations = 20,
                          .x = x.Poison(),
                          .q = q.Poison(),
                          .q_scale = q_scale.Poison(),
                          .post = post.Poison(),
                          .comb = comb.Poison()};
  kernels.hc_pre_norm_quant(args, stream);
  args.x = expected_x;
  args.post = expected_post;
  args.comb = expected_comb;
  kernels.hc_pre(args.pre(), stream);
  kernels.rms_norm({.x = expected_x, .weight = norm, .eps = 1e-6f, .y = expected_x}, stream);
  kernels.act_quant({.x = expected_x, .q = expected_q, .scale = expected_scale}, stream);
  EXPECT_TRUE(x.values == expected_x.values);
  EXPECT_EQ(q.values, expected_q.values);
  EXPECT_EQ(q_scale.values, expected_scale.values);
  EXPECT_EQ(post.values, expected_post.values);
  EXPECT_EQ(comb.values, expected_comb.values);
}

}  // namespace
}  // namespace tandem::kernels
