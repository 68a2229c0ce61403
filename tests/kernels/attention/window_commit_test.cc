// SPDX-License-Identifier: Apache-2.0
// Goal: the last 128 rows of a step reach their ring rows. Method: rows marked with their token,
// for long and short steps.
#include "kernels/attention/window_commit.h"

#include "tests/kernels/attention/sequences.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class WindowCommitTest : public OnTable {};
ON_EVERY_TABLE(WindowCommitTest);

TEST_P(WindowCommitTest, KeepsTheLast128OfEachSequence) {
  const Sequences steps({{.slot = 1, .first = 100, .tokens = 150, .pages = {0}},
                         {.slot = 0, .first = 126, .tokens = 3, .pages = {0}}});
  std::vector<uint8_t> chunk(3 * KvPageBytes(64)), ring(4 * KvPageBytes(64), 0xA5), expected = ring;
  const KvPages from{.base = chunk.data(), .pages = 3}, to{.base = expected.data(), .pages = 4};
  Tensor<Bf16, 1> kv(512);
  for (int t = 0; t < 153; ++t) {
    for (Bf16& v : kv.values) v = ToBf16(static_cast<float>(t + 1));
    WriteKvRow(kv.values.data(), from, t);
    const int p = t < 150 ? 100 + t : 126 + t - 150;
    if (t >= 22) WriteKvRow(kv.values.data(), to, (t < 150 ? 128 : 0) + p % 128);
  }
  kernels.window_commit(
      {.batch = steps.batch, .chunk = from, .ring = {.base = ring.data(), .pages = 4}}, stream);
  EXPECT_EQ(ring, expected);
}

}  // namespace
}  // namespace tandem::kernels
