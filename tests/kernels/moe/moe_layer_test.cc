// SPDX-License-Identifier: Apache-2.0
// Goal: router, choice and experts in one operation. Method: golden cases of both routers end to
// end; the same bits as the operations one by one; experts of other ranks are skipped.
#include "kernels/moe/moe_layer.h"

#include "tests/kernels/moe/golden_experts.h"

namespace tandem::kernels {
namespace {

class MoeLayerTest : public WithGoldenExperts {
 protected:
  MoeLayerTest() {
    for (int t = 0; t < 5; ++t) tokens[t] = t;
  }
  MoeLayerArgs Args(bool hash, Tensor<Bf16, 2>& y) {
    return {.x = x,
            .router = gate.For(kernels),
            .bias = hash ? TensorView<float, 1>{} : bias.view,
            .tokens = tokens,
            .tid2eid = hash ? tid2eid.view : TensorView<int64_t, 2>{},
            .topk = 2,
            .routed_scaling_factor = 1.5f,
            .routed = {weights.data(), {4}},
            .shared = weights[4],
            .limit = 10,
            .y = y.Poison()};
  }
  OwnedWeight gate{WeightFormat::kBf16, 4, 128, golden.bytes("gate"), {}};
  Tensor<Bf16, 2> x = golden.Get<Bf16, 2>("x");
  Tensor<float, 1> bias = golden.Get<float, 1>("bias");
  Tensor<int64_t, 2> tid2eid = golden.Get<int64_t, 2>("tid2eid");
  Tensor<int32_t, 1> tokens{5};
};
ON_EVERY_TABLE(MoeLayerTest);

// As in moe_experts_test: 1 % of the outputs' size for a flipped rounding inside.
TEST_P(MoeLayerTest, EqualsTheGoldensOfBothRouters) {
  for (const bool hash : {true, false}) {
    Tensor<Bf16, 2> y(5, 128);
    kernels.moe_layer(Args(hash, y), stream);
    const auto expected = golden.Get<Bf16, 2>(hash ? "hash" : "score").values;
    double size = 0;
    for (const Bf16 v : expected)
      size += std::abs(ToFloat(v)) / static_cast<double>(expected.size());
    ExpectNear(y.values, expected, 0.01 * size);
  }
}

TEST_P(MoeLayerTest, SkipsTheExpertsOfOtherRanks) {
  Tensor<int32_t, 2> all(5, 2), ours(5, 2);
  Tensor<float, 2> logits(5, 4), weight(5, 2);
  kernels.bf16_linear({.x = x, .weight = gate.For(kernels), .y = logits}, stream);
  kernels.gate_score({.logits = logits,
                      .bias = bias,
                      .routed_scaling_factor = 1.5f,
                      .experts = all,
                      .weight = weight},
                     stream);
  for (int i = 0; i < 10; ++i) ours[i] = all[i] >= 1 && all[i] < 3 ? all[i] - 1 : -1;
  Tensor<Bf16, 2> y(5, 128), expected(5, 128);
  MoeLayerArgs args = Args(false, y);
  args.routed = {weights.data() + 1, {2}};
  args.first_expert = 1;
  kernels.moe_layer(args, stream);
  kernels.moe_experts({.x = x,
                       .experts = ours,
                       .weight = weight,
                       .routed = {weights.data() + 1, {2}},
                       .shared = weights[4],
                       .limit = 10,
                       .y = expected},
                      stream);
  EXPECT_EQ(y.values, expected.values);
}

}  // namespace
}  // namespace tandem::kernels
