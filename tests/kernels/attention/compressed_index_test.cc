// SPDX-License-Identifier: Apache-2.0
// Goal: all compressed rows that a token sees. Method: by hand at row and page boundaries.
#include "kernels/attention/compressed_index.h"

#include "tests/kernels/attention/sequences.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class CompressedIndexTest : public OnTable {};
ON_EVERY_TABLE(CompressedIndexTest);

TEST_P(CompressedIndexTest, ARowIsSeenWhenItsLastTokenArrives) {
  const Sequences steps({{.slot = 0, .first = 126, .tokens = 2, .pages = {6, 2}},
                         {.slot = 1, .first = 383, .tokens = 1, .pages = {6, 2}}});
  Tensor<int32_t, 2> rows(3, 4);
  kernels.compressed_index({.batch = steps.batch, .ratio = 128, .rows = rows.Poison()}, stream);
  EXPECT_EQ(rows.values, (std::vector<int32_t>{-1, -1, -1, -1, 12, -1, -1, -1, 12, 13, 4, -1}));
  Tensor<int32_t, 2> narrow(3, 2);
  EXPECT_DEATH(
      kernels.compressed_index({.batch = steps.batch, .ratio = 128, .rows = narrow}, stream),
      "rows");
}

}  // namespace
}  // namespace tandem::kernels
