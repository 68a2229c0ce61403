// SPDX-License-Identifier: Apache-2.0
// Goal: all_reduce of one rank. Method: it is a copy, and hc_post's bits where that is asked for;
// more ranks are fatal on a CPU.
#include "kernels/comm/all_reduce.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class AllReduceTest : public OnTable {};
ON_EVERY_TABLE(AllReduceTest);

TEST_P(AllReduceTest, OneRankIsACopy) {
  Random random(54);
  SCOPED_TRACE(random.Trace());
  Tensor<Bf16, 2> x(3, 24), y(3, 24);
  random.Fill(x);
  kernels.all_reduce({.x = x, .y = y.Poison()}, stream);
  EXPECT_TRUE(y.values == x.values);
}

TEST_P(AllReduceTest, WithHcPostItsBits) {
  const Golden golden("hc");
  auto fused = golden.Get<Bf16, 3>("streams"), plain = golden.Get<Bf16, 3>("streams");
  const auto y = golden.Get<Bf16, 2>("y");
  const auto weights = golden.Get<float, 2>("post");
  const auto comb = golden.Get<float, 3>("comb");
  HcPostArgs post{.y = y, .post = weights, .comb = comb, .streams = plain};
  kernels.hc_post(post, stream);
  post.y = {};
  post.streams = fused;
  kernels.all_reduce({.x = y, .post = post}, stream);
  EXPECT_TRUE(fused.values == plain.values);
}

TEST_P(AllReduceTest, MoreRanksAreFatal) {
  Tensor<Bf16, 2> x(1, 8);
  EXPECT_DEATH(kernels.all_reduce({.x = x, .y = x, .peers = {.ranks = 2}}, stream), "ranks");
}

}  // namespace
}  // namespace tandem::kernels
