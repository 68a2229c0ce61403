// SPDX-License-Identifier: Apache-2.0
// Goal: gather of one rank. Method: it is a copy; more ranks are fatal on a CPU.
#include "kernels/comm/gather.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class GatherTest : public OnTable {};
ON_EVERY_TABLE(GatherTest);

TEST_P(GatherTest, OneRankIsACopy) {
  Random random(55);
  SCOPED_TRACE(random.Trace());
  Tensor<float, 2> x(3, 20), y(3, 20);
  random.Fill(x);
  kernels.gather({.x = x, .y = y.Poison()}, stream);
  EXPECT_TRUE(y.values == x.values);
}

TEST_P(GatherTest, MoreRanksAreFatal) {
  Tensor<float, 2> x(1, 8), y(1, 16);
  EXPECT_DEATH(kernels.gather({.x = x, .y = y, .peers = {.ranks = 2}}, stream), "ranks");
}

}  // namespace
}  // namespace tandem::kernels
