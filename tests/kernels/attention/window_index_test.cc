// SPDX-License-Identifier: Apache-2.0
// Goal: the raw rows that a token sees. Method: the window's positions by definition, for chunks at
// every kind of start, with two sequences in a step; too short a list is fatal.
#include "kernels/attention/window_index.h"

#include <algorithm>

#include "tests/kernels/attention/sequences.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class WindowIndexTest : public OnTable {};
ON_EVERY_TABLE(WindowIndexTest);

TEST_P(WindowIndexTest, ListsTheWindowOldestFirst) {
  for (const int32_t first : {0, 1, 126, 127, 128, 300}) {
    const Sequences steps({{.slot = 5, .first = 7, .tokens = 2, .pages = {0}},
                           {.slot = 3, .first = first, .tokens = 200, .pages = {0, 1}}});
    Tensor<int32_t, 2> ring(202, 127), chunk(202, 128);
    kernels.window_index({.batch = steps.batch, .ring = ring.Poison(), .chunk = chunk.Poison()},
                         stream);
    for (int32_t t = 2; t < 202; ++t) {
      std::vector<int32_t> in_ring, in_chunk;
      const int32_t p = first + t - 2;
      for (int32_t j = std::max(0, p - 127); j <= p; ++j) {
        if (j < first) in_ring.push_back(3 * 128 + j % 128);
        if (j >= first) in_chunk.push_back(2 + j - first);
      }
      in_ring.resize(127, -1);
      in_chunk.resize(128, -1);
      ASSERT_EQ(std::vector<int32_t>(ring.view.row(t), ring.view.row(t + 1)), in_ring)
          << first << " " << p;
      ASSERT_EQ(std::vector<int32_t>(chunk.view.row(t), chunk.view.row(t + 1)), in_chunk);
    }
  }
}

TEST_P(WindowIndexTest, ADecodeStepNeedsOneChunkColumn) {
  const Sequences steps({{.slot = 0, .first = 130, .tokens = 1, .pages = {0}}});
  Tensor<int32_t, 2> ring(1, 127), chunk(1, 1), narrow(1, 126);
  kernels.window_index({.batch = steps.batch, .ring = ring, .chunk = chunk}, stream);
  EXPECT_EQ(ring[0], 3);
  EXPECT_EQ(ring[126], 1);
  EXPECT_EQ(chunk[0], 0);
  EXPECT_DEATH(kernels.window_index({.batch = steps.batch, .ring = narrow, .chunk = chunk}, stream),
               "ring");
}

}  // namespace
}  // namespace tandem::kernels
