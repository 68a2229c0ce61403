// SPDX-License-Identifier: Apache-2.0
// Goal: linear layers of one input at once. Method: the same bits as norm, quantiser and linears
// one by one, for inputs as they come; a broken contract ends the process.
#include "kernels/gemm/linear_group.h"

#include "tests/kernels/gemm/group_world.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

using enum GroupInput;

class LinearGroupTest : public OnTable {};
ON_EVERY_TABLE(LinearGroupTest);

TEST_P(LinearGroupTest, IsItsLinears) {
  Random random(71);
  for (const GroupShape& shape :
       {GroupShape{kGiven, 256, {128, 256}, {40, 3}}, GroupShape{kGiven, 128, {128}, {}},
        GroupShape{kGiven, 128, {}, {17}}, GroupShape{kQuantised, 384, {128}, {5}},
        GroupShape{kNormed, 256, {256, 128}, {}}}) {
    const auto owned = WeightsOf(shape, random);
    std::vector<LinearWeight> weights;
    for (const auto& weight : owned) weights.push_back(weight->For(kernels));
    for (const int64_t tokens : {1, 5}) {
      Tensor<Bf16, 2> x(tokens, shape.k);
      Tensor<Bf16, 1> norm(shape.k);
      random.Fill(x);
      random.Fill(norm);
      GroupSide<Tensor> together(shape, weights, x, norm), apart(shape, weights, x, norm);
      together.RunTogether(kernels, stream);
      apart.RunApart(kernels, stream);
      ExpectSameOutputs(together, apart, [](const auto& tensor) { return tensor.values; });
    }
  }
}

using LinearGroupDeathTest = LinearGroupTest;
ON_EVERY_TABLE(LinearGroupDeathTest);

TEST_P(LinearGroupDeathTest, KeepsItsContract) {
  Random random(72);
  const OwnedWeight weight(WeightFormat::kBf16, 8, 128, random);
  Tensor<Bf16, 2> x(1, 128);
  Tensor<Bf16, 1> norm(128);
  Tensor<float, 2> y(1, 8), narrow(1, 7);
  random.Fill(x);
  const auto run = [&](const LinearGroupArgs& args) { kernels.linear_group(args, stream); };
  const GroupLinear right[] = {{.weight = weight.plain(), .y_float = y}};
  const GroupLinear wrong[] = {{.weight = weight.plain(), .y_float = narrow}};
  EXPECT_DEATH(run({.x = x, .linears = {}}), "count");
  EXPECT_DEATH(run({.x = x, .linears = wrong}), "y_float");
  EXPECT_DEATH(run({.x = x, .norm = norm, .linears = right}), "norm");
}

}  // namespace
}  // namespace tandem::kernels
