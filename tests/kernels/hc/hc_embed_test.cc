// SPDX-License-Identifier: Apache-2.0
// Goal: embedding rows to every stream. Method: a small table; a token outside it is fatal.
#include "kernels/hc/hc_embed.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class HcEmbedTest : public OnTable {};
ON_EVERY_TABLE(HcEmbedTest);

TEST_P(HcEmbedTest, CopiesTheRowToEveryStream) {
  Random random(1);
  Tensor<Bf16, 2> embed(5, 3);
  random.Fill(embed);
  Tensor<int32_t, 1> tokens(2);
  tokens[0] = 4;
  Tensor<Bf16, 3> streams(2, 4, 3);
  kernels.hc_embed({.tokens = tokens, .embed = embed, .streams = streams.Poison()}, stream);
  for (int i = 0; i < 4; ++i) {
    for (int d = 0; d < 3; ++d) {
      EXPECT_EQ(streams[i * 3 + d], embed[4 * 3 + d]);
      EXPECT_EQ(streams[12 + i * 3 + d], embed[d]);
    }
  }
  tokens[1] = 5;
  EXPECT_DEATH(kernels.hc_embed({.tokens = tokens, .embed = embed, .streams = streams}, stream),
               "tokens");
}

}  // namespace
}  // namespace tandem::kernels
