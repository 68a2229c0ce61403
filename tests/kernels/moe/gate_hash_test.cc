// SPDX-License-Identifier: Apache-2.0
// Goal: experts by token id. Method: by hand; an expert or a token outside its table is fatal.
#include "kernels/moe/gate_hash.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class GateHashTest : public OnTable {};
ON_EVERY_TABLE(GateHashTest);

TEST_P(GateHashTest, LooksExpertsUpAndWeighsThemByTheirScores) {
  Tensor<float, 2> logits(1, 3), weight(1, 2);
  logits[0] = 2;
  logits[2] = -1;
  Tensor<int32_t, 1> tokens(1);
  tokens[0] = 1;
  Tensor<int64_t, 2> tid2eid(2, 2);
  tid2eid[2] = 2;
  Tensor<int32_t, 2> experts(1, 2);
  const GateHashArgs args{.logits = logits,
                          .tokens = tokens,
                          .tid2eid = tid2eid,
                          .routed_scaling_factor = 2,
                          .experts = experts.Poison(),
                          .weight = weight.Poison()};
  kernels.gate_hash(args, stream);
  EXPECT_EQ(experts[0], 2);
  EXPECT_EQ(experts[1], 0);
  const double a = std::sqrt(std::log1p(std::exp(-1.0))), b = std::sqrt(std::log1p(std::exp(2.0)));
  EXPECT_NEAR(weight[0], 2 * a / (a + b), 1e-6);
  EXPECT_NEAR(weight[1], 2 * b / (a + b), 1e-6);
  tid2eid[3] = 3;
  EXPECT_DEATH(kernels.gate_hash(args, stream), "expert");
  tokens[0] = 2;
  EXPECT_DEATH(kernels.gate_hash(args, stream), "tokens");
}

}  // namespace
}  // namespace tandem::kernels
