// SPDX-License-Identifier: Apache-2.0
// Goal: raw log-probabilities. Method: a row with known ones, ties, K of zero and of the whole row,
// NaN.
#include "kernels/sampling/top_logprobs.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class TopLogprobsTest : public OnTable {};
ON_EVERY_TABLE(TopLogprobsTest);

TEST_P(TopLogprobsTest, ListsTheBestFirstAndTiesByTheLowestId) {
  Tensor<float, 2> logits(2, 4), values(2, 3);
  logits.values = {
      std::log(1.0f), std::log(4.0f), std::log(2.0f), std::log(4.0f), NAN, 7, -INFINITY, NAN};
  Tensor<int32_t, 1> token(2);
  token.values = {2, -1};
  Tensor<float, 1> chosen(2);
  Tensor<int32_t, 2> ids(2, 3);
  kernels.top_logprobs({.logits = logits,
                        .token = token,
                        .chosen = chosen.Poison(),
                        .ids = ids.Poison(),
                        .values = values.Poison()},
                       stream);
  EXPECT_EQ(ids.values, (std::vector<int32_t>{1, 3, 2, 1, 0, 2}));
  EXPECT_NEAR(chosen[0], std::log(2.0 / 11), 1e-6);
  EXPECT_NEAR(values[0], std::log(4.0 / 11), 1e-6);
  EXPECT_NEAR(values[2], std::log(2.0 / 11), 1e-6);
  EXPECT_EQ(chosen[1], -INFINITY);
  EXPECT_EQ(values[3], 0);
  EXPECT_EQ(values[4], -INFINITY);
}

TEST_P(TopLogprobsTest, MayListNothing) {
  Tensor<float, 2> logits(1, 2), values(1, 0);
  Tensor<int32_t, 1> token(1);
  Tensor<float, 1> chosen(1);
  Tensor<int32_t, 2> ids(1, 0);
  kernels.top_logprobs(
      {.logits = logits, .token = token, .chosen = chosen.Poison(), .ids = ids, .values = values},
      stream);
  EXPECT_NEAR(chosen[0], std::log(0.5), 1e-7);
}

}  // namespace
}  // namespace tandem::kernels
