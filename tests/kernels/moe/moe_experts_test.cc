// SPDX-License-Identifier: Apache-2.0
// Goal: routed and shared experts. Method: golden cases of both routers end to end; bits
// independent of T; unused slots and an expert named twice by hand.
#include "kernels/moe/moe_experts.h"

#include "tests/kernels/moe/golden_experts.h"

namespace tandem::kernels {
namespace {

class MoeExpertsTest : public WithGoldenExperts {
 protected:
  std::vector<Bf16> Run(TensorView<const Bf16, 2> x, TensorView<const int32_t, 2> experts,
                        TensorView<const float, 2> weight) {
    Tensor<Bf16, 2> y(x.shape[0], 128);
    kernels.moe_experts({.x = x,
                         .experts = experts,
                         .weight = weight,
                         .routed = {weights.data(), {4}},
                         .shared = weights[4],
                         .limit = 10,
                         .y = y.Poison()},
                        stream);
    return y.values;
  }
  // Router outputs of the golden tokens.
  void Route(bool hash) {
    OwnedWeight gate(WeightFormat::kBf16, 4, 128, golden.bytes("gate"), {});
    Tensor<float, 2> logits(5, 4);
    kernels.bf16_linear({.x = x, .weight = gate.For(kernels), .y = logits}, stream);
    Tensor<int32_t, 1> tokens(5);
    for (int t = 0; t < 5; ++t) tokens[t] = t;
    if (hash) {
      kernels.gate_hash({.logits = logits,
                         .tokens = tokens,
                         .tid2eid = golden.Get<int64_t, 2>("tid2eid"),
                         .routed_scaling_factor = 1.5f,
                         .experts = experts,
                         .weight = weight},
                        stream);
    } else {
      kernels.gate_score({.logits = logits,
                          .bias = golden.Get<float, 1>("bias"),
                          .routed_scaling_factor = 1.5f,
                          .experts = experts,
                          .weight = weight},
                         stream);
    }
  }
  Tensor<Bf16, 2> x = golden.Get<Bf16, 2>("x");
  Tensor<int32_t, 2> experts{5, 2};
  Tensor<float, 2> weight{5, 2};
};
ON_EVERY_TABLE(MoeExpertsTest);

// A flipped rounding of an intermediate (2^-8 of it) may reach an output: 1 % of the outputs' size
// is allowed.
TEST_P(MoeExpertsTest, EqualsTheGoldensOfBothRouters) {
  for (const bool hash : {true, false}) {
    Route(hash);
    const auto expected = golden.Get<Bf16, 2>(hash ? "hash" : "score").values;
    double size = 0;
    for (const Bf16 v : expected)
      size += std::abs(ToFloat(v)) / static_cast<double>(expected.size());
    ExpectNear(Run(x, experts, weight), expected, 0.01 * size);
  }
}

TEST_P(MoeExpertsTest, ATokensBitsDoNotDependOnItsNeighbours) {
  Route(false);
  const std::vector<Bf16> all = Run(x, experts, weight);
  for (int t = 0; t < 5; ++t) {
    const auto one = Run(Rows(x.view, t, 1), Rows(experts.view, t, 1), Rows(weight.view, t, 1));
    ASSERT_EQ(std::memcmp(one.data(), &all[t * 128], 256), 0);
  }
}

TEST_P(MoeExpertsTest, SkipsUnusedSlotsAndCountsAnExpertNamedTwiceTwice) {
  const auto one = Rows(x.view, 0, 1);
  Tensor<int32_t, 2> slots(1, 2), single(1, 1);
  Tensor<float, 2> w(1, 2), w1(1, 1);
  slots[0] = -1;
  slots[1] = single[0] = 2;
  w[0] = 9;
  w[1] = w1[0] = 0.7f;
  EXPECT_EQ(Run(one, slots, w), Run(one, single, w1));
  slots[1] = -1;
  const std::vector<Bf16> shared = Run(one, slots, w);
  slots[0] = slots[1] = 2;
  w[0] = w[1] = 0.7f;
  const std::vector<Bf16> twice = Run(one, slots, w), once = Run(one, single, w1);
  for (int d = 0; d < 128; ++d) {
    const double s = ToFloat(shared[d]), a = ToFloat(once[d]) - s, b = ToFloat(twice[d]) - s;
    EXPECT_NEAR(b, 2 * a, (std::abs(s) + std::abs(a)) / 32);
  }
}

}  // namespace
}  // namespace tandem::kernels
