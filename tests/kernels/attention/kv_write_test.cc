// SPDX-License-Identifier: Apache-2.0
// Goal: rows written where the list says. Method: read back; −1 and other rows keep their poison.
#include "kernels/attention/kv_write.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class KvWriteTest : public OnTable {};
ON_EVERY_TABLE(KvWriteTest);

TEST_P(KvWriteTest, WritesTheNamedRowsOnly) {
  Random random(61);
  Tensor<Bf16, 2> kv(3, 512);
  random.Fill(kv);
  Tensor<int32_t, 1> index(3);
  index.values = {65, -1, 2};
  std::vector<uint8_t> pool(2 * KvPageBytes(64), 0xA5), expected = pool;
  kernels.kv_write({.kv = kv, .index = index, .rows = {.base = pool.data(), .pages = 2}}, stream);
  const KvPages pages{.base = expected.data(), .pages = 2};
  WriteKvRow(kv.view.row(0), pages, 65);
  WriteKvRow(kv.view.row(2), pages, 2);
  EXPECT_EQ(pool, expected);
  index[1] = 128;
  EXPECT_DEATH(kernels.kv_write(
                   {.kv = kv, .index = index, .rows = {.base = pool.data(), .pages = 2}}, stream),
               "index");
}

}  // namespace
}  // namespace tandem::kernels
