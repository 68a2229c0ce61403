// SPDX-License-Identifier: Apache-2.0
// Goal: the biased choice and unbiased weights. Method: by hand: order, ties, a bias that turns the
// choice, extreme logits.
#include "kernels/moe/gate_score.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class GateScoreTest : public OnTable {
 protected:
  void Run(std::vector<float> logits, std::vector<float> bias) {
    const auto n = static_cast<int64_t>(logits.size());
    kernels.gate_score({.logits = {logits.data(), {1, n}},
                        .bias = {bias.data(), {n}},
                        .routed_scaling_factor = 1.5f,
                        .experts = experts.Poison(),
                        .weight = weight.Poison()},
                       stream);
  }
  Tensor<int32_t, 2> experts{1, 2};
  Tensor<float, 2> weight{1, 2};
};
ON_EVERY_TABLE(GateScoreTest);

double Score(double logit) {
  return std::sqrt(std::log1p(std::exp(logit)));
}

TEST_P(GateScoreTest, ChoosesByTheBiasedScoreAndWeighsByTheOther) {
  Run({1, 2, 3, -4}, {0, 0, 0, 9});
  EXPECT_EQ(experts[0], 3);
  EXPECT_EQ(experts[1], 2);
  const double sum = Score(-4) + Score(3);
  EXPECT_NEAR(weight[0], 1.5 * Score(-4) / sum, 1e-6);
  EXPECT_NEAR(weight[1], 1.5 * Score(3) / sum, 1e-6);
}

TEST_P(GateScoreTest, TiesGoToTheLowestExpert) {
  Run({1, 5, 5, 5}, {0, 0, 0, 0});
  EXPECT_EQ(experts[0], 1);
  EXPECT_EQ(experts[1], 2);
  EXPECT_EQ(weight[0], 0.75f);
}

TEST_P(GateScoreTest, SurvivesExtremeLogits) {
  Run({-80, 60, -90, -100}, {0, 0, 0, 0});
  EXPECT_EQ(experts[0], 1);
  EXPECT_EQ(experts[1], 0);
  EXPECT_NEAR(weight[1] / (1.5 * std::exp(-40) / std::sqrt(60)), 1, 1e-5);
}

TEST_P(GateScoreTest, ANanIsNeverChosenBeforeANumber) {
  Run({NAN, -5, NAN, -6}, {0, 0, 0, 0});
  EXPECT_EQ(experts[0], 1);
  EXPECT_EQ(experts[1], 3);
}

}  // namespace
}  // namespace tandem::kernels
