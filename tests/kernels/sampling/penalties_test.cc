// SPDX-License-Identifier: Apache-2.0
// Goal: the three penalties. Method: by hand, on both signs, prompt-only tokens, and rows that own
// no entry.
#include "kernels/sampling/penalties.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class PenaltiesTest : public OnTable {};
ON_EVERY_TABLE(PenaltiesTest);

TEST_P(PenaltiesTest, ChangeTheTokensThatWereSeen) {
  Tensor<float, 2> logits(2, 4);
  for (int i = 0; i < 8; ++i) logits[i] = static_cast<float>(i % 4) - 1;  // -1 0 1 2
  Tensor<int32_t, 1> begin(3), token(3), count(3);
  begin.values = {0, 0, 3};
  token.values = {0, 3, 2};
  count.values = {0, 2, 1};
  Tensor<float, 1> repetition(2), presence(2), frequency(2);
  repetition.values = {3, 2};
  presence.values = {3, 0.25f};
  frequency.values = {3, 0.5f};
  kernels.penalties({.logits = logits,
                     .begin = begin,
                     .token = token,
                     .count = count,
                     .repetition = repetition,
                     .presence = presence,
                     .frequency = frequency},
                    stream);
  EXPECT_EQ(logits.values, (std::vector<float>{-1, 0, 1, 2, -2, 0, 0.5f - 0.75f, 1 - 1.25f}));
}

}  // namespace
}  // namespace tandem::kernels
