// SPDX-License-Identifier: Apache-2.0
// Goal: what stands between the projections and attention. Method: against its four operations one
// by one; -1 and other rows keep their poison.
#include "kernels/attention/qkv_finish.h"

#include "tests/kernels/attention/finish_world.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class QkvFinishTest : public OnTable {};
ON_EVERY_TABLE(QkvFinishTest);

TEST_P(QkvFinishTest, IsNormRopeAndWrite) {
  Random random(64);
  Tensor<Bf16, 3> q(3, 4, 512);
  Tensor<Bf16, 2> kv(3, 512), normed(3, 512);
  Tensor<Bf16, 1> weight(512);
  Tensor<float, 2> cos(3, 32), sin(3, 32);
  random.Fill(q, 3);
  random.Fill(kv, 2);
  random.Fill(weight);
  random.Fill(cos);
  random.Fill(sin);
  Tensor<int32_t, 1> index(3);
  index.values = {65, -1, 2};
  Tensor<Bf16, 3> expected_q = q;
  std::vector<uint8_t> pool(2 * KvPageBytes(64), 0xA5), expected = pool;
  kernels.head_norm({.q = expected_q, .eps = 1e-6f}, stream);
  kernels.rope({.x = expected_q, .cos = cos, .sin = sin}, stream);
  kernels.rms_norm({.x = kv, .weight = weight, .eps = 1e-6f, .y = normed}, stream);
  kernels.rope({.x = {normed.view.data, {3, 1, 512}}, .cos = cos, .sin = sin}, stream);
  kernels.kv_write({.kv = normed, .index = index, .rows = {.base = expected.data(), .pages = 2}},
                   stream);
  const std::vector<Bf16> before = kv.values;
  kernels.qkv_finish({.q = q,
                      .kv = kv,
                      .kv_weight = weight,
                      .cos = cos,
                      .sin = sin,
                      .eps = 1e-6f,
                      .index = index,
                      .rows = {.base = pool.data(), .pages = 2}},
                     stream);
  EXPECT_EQ(q.values, expected_q.values);
  EXPECT_EQ(kv.values, before);
  EXPECT_EQ(pool, expected);
}

TEST_P(QkvFinishTest, DoesItsOtherPartsAsTheirOperationsDo) {
  Random random(65);
  for (const FinishKind& kind : kFinishKinds) {
    SCOPED_TRACE(testing::Message() << "ratio " << kind.ratio << ", commit " << kind.commit);
    const FinishWorld world(4, kind.ratio, random);
    const Sequences sequences(world.list);
    FinishSide<Tensor> together(world, sequences.batch), apart(world, sequences.batch);
    together.RunTogether(kernels, kind, stream);
    apart.RunApart(kernels, kind, stream);
    ExpectSameBits(together, apart, [](const auto& tensor) { return tensor.values; });
  }
}

}  // namespace
}  // namespace tandem::kernels
