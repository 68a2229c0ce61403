// SPDX-License-Identifier: Apache-2.0
// Goal: wo_a. Method: the golden group; several groups equal one product a group, bit for bit; bits
// independent of T.
#include "kernels/gemm/grouped_linear.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class GroupedLinearTest : public OnTable {};
ON_EVERY_TABLE(GroupedLinearTest);

TEST_P(GroupedLinearTest, EqualsTheGolden) {
  const Golden golden("linears");
  OwnedWeight weight(WeightFormat::kFp8, 128, 256, golden.bytes("w8"), golden.bytes("s8"));
  Tensor<Bf16, 3> y(3, 1, 128);
  kernels.grouped_linear(
      {.x = golden.Get<Bf16, 3>("o"), .weight = weight.For(kernels), .y = y.Poison()}, stream);
  ExpectNear(y.values, golden.Get<Bf16, 3>("z").values, 1e-5);
}

TEST_P(GroupedLinearTest, EveryGroupReadsItsOwnInputAndRowsWhateverT) {
  Random random(41);
  SCOPED_TRACE(random.Trace());
  const int64_t tokens = 5, groups = 3, k = 256, rank = 128;
  OwnedWeight owned(WeightFormat::kFp8, groups * rank, k, random);
  Tensor<Bf16, 3> x(tokens, groups, k), y(tokens, groups, rank), one(1, groups, rank);
  random.Fill(x);
  kernels.grouped_linear({.x = x, .weight = owned.For(kernels), .y = y.Poison()}, stream);
  for (int64_t t = 0; t < tokens; ++t) {
    kernels.grouped_linear(
        {.x = Rows(x.view, t, 1), .weight = owned.For(kernels), .y = one.Poison()}, stream);
    ASSERT_EQ(std::memcmp(one.values.data(), y.view.row(t), 2 * groups * rank), 0);
    for (int64_t g = 0; g < groups; ++g) {
      OwnedWeight part(
          WeightFormat::kFp8, rank, k,
          {owned.plain().bytes + g * rank * k, owned.plain().bytes + (g + 1) * rank * k},
          {owned.plain().scales + g * 2, owned.plain().scales + g * 2 + 2});
      Tensor<Bf16, 3> z(1, 1, rank);
      kernels.grouped_linear(
          {.x = {x.view.row(t) + g * k, {1, 1, k}}, .weight = part.For(kernels), .y = z}, stream);
      ASSERT_EQ(std::memcmp(z.values.data(), y.view.row(t) + g * rank, 2 * rank), 0);
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
