// SPDX-License-Identifier: Apache-2.0
// Goal: hc_post_pre is hc_post and hc_pre_norm_quant. Method: both ways on the same table, bit for
// bit, the new post and comb over those that were read; streams that differ are fatal.
#include "kernels/hc/hc_post_pre.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class HcPostPreTest : public OnTable {};
ON_EVERY_TABLE(HcPostPreTest);

// One run's memory.
struct Operands {
  explicit Operands(const Golden& golden)
      : streams(golden.Get<Bf16, 3>("streams")),
        y(golden.Get<Bf16, 2>("y")),
        fn(golden.Get<float, 2>("p_fn")),
        base(golden.Get<float, 1>("p_base")),
        scale(golden.Get<float, 1>("p_scale")),
        post(golden.Get<float, 2>("post")),
        comb(golden.Get<float, 3>("comb")),
        norm(256),
        x(3, 256),
        q(3, 256),
        q_scale(3, 2) {
    Random(53).Fill(norm);
  }
  HcPostArgs Post() { return {.y = y, .post = post, .comb = comb, .streams = streams}; }
  HcPreNormQuantArgs Next() {
    return {.streams = streams,
            .fn = fn,
            .base = base,
            .scale = scale,
            .norm = norm,
            .norm_eps = 1e-6f,
            .hc_eps = 1e-6f,
            .iterations = 20,
            .x = x,
            .q = q,
            .q_scale = q_scale,
            .post = post,
            .comb = comb};
  }
  Tensor<Bf16, 3> streams;
  Tensor<Bf16, 2> y;
  Tensor<float, 2> fn;
  Tensor<float, 1> base, scale;
  Tensor<float, 2> post;
  Tensor<float, 3> comb;
  Tensor<Bf16, 1> norm;
  Tensor<Bf16, 2> x;
  Tensor<E4M3, 2> q;
  Tensor<Ue8m0, 2> q_scale;
};

TEST_P(HcPostPreTest, IsItsTwoOperations) {
  const Golden golden("hc");
  Operands one(golden), two(golden);
  kernels.hc_post_pre({.post = one.Post(), .next = one.Next()}, stream);
  kernels.hc_post(two.Post(), stream);
  kernels.hc_pre_norm_quant(two.Next(), stream);
  EXPECT_TRUE(one.streams.values == two.streams.values);
  EXPECT_TRUE(one.x.values == two.x.values);
  EXPECT_EQ(one.q.values, two.q.values);
  EXPECT_EQ(one.q_scale.values, two.q_scale.values);
  EXPECT_EQ(one.post.values, two.post.values);
  EXPECT_EQ(one.comb.values, two.comb.values);
}

TEST_P(HcPostPreTest, OtherStreamsAreFatal) {
  const Golden golden("hc");
  Operands one(golden), two(golden);
  EXPECT_DEATH(kernels.hc_post_pre({.post = one.Post(), .next = two.Next()}, stream), "streams");
}

}  // namespace
}  // namespace tandem::kernels
