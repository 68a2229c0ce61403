// SPDX-License-Identifier: Apache-2.0
// Goal: attention over listed rows. Method: the golden case, in one source and spread over three
// with −1 between; a query without keys; fast against reference on random input (|error| ≤ 2^-7 of
// the largest key value, for P is rounded to bf16); bits independent of neighbours, sources and
// padding; with angles those of rope.
#include "kernels/attention/sparse_attention.h"

#include <algorithm>

#include "kernels/common/paged_rows.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

constexpr float kScale = 0.044194173824159216f;

// Keys written as rows of a pool.
struct Pool {
  explicit Pool(TensorView<const Bf16, 2> keys) : bytes(4 * KvPageBytes(64)) {
    for (int64_t i = 0; i < keys.shape[0]; ++i)
      WriteKvRow(keys.row(i), {.base = bytes.data(), .pages = 4}, i);
  }
  ConstKvPages rows() const { return {.base = bytes.data(), .pages = 4}; }
  std::vector<uint8_t> bytes;
};

class SparseAttentionTest : public OnTable {
 protected:
  struct Result {
    std::vector<Bf16> out;
    std::vector<float> lse;
  };
  Result Run(TensorView<const Bf16, 3> q, TensorView<const float, 1> sink, const Pool& pool,
             std::vector<std::vector<int32_t>> lists) {
    Tensor<Bf16, 3> out(q.shape[0], q.shape[1], 512);
    Tensor<float, 2> lse(q.shape[0], q.shape[1]);
    SparseAttentionArgs args{
        .q = q, .sink = sink, .scale = kScale, .out = out.Poison(), .lse = lse.Poison()};
    for (size_t s = 0; s < lists.size(); ++s) {
      args.sources[s] = {
          .rows = pool.rows(),
          .index = {lists[s].data(),
                    {q.shape[0], static_cast<int64_t>(lists[s].size()) / q.shape[0]}}};
    }
    kernels.sparse_attention(args, stream);
    return {out.values, lse.values};
  }
  static std::vector<int32_t> Count(int32_t n) {
    std::vector<int32_t> list(n);
    for (int32_t i = 0; i < n; ++i) list[i] = i;
    return list;
  }
};
ON_EVERY_TABLE(SparseAttentionTest);

TEST_P(SparseAttentionTest, EqualsTheGoldenInOneSourceOrThree) {
  const Golden golden("sparse_attention");
  const auto q = golden.Get<Bf16, 3>("q");
  const auto keys = golden.Get<Bf16, 2>("keys");
  const auto sink = golden.Get<float, 1>("sink");
  const Pool pool(keys);
  const Result result = Run(q, sink, pool, {Count(37)});
  ExpectNear(result.out, golden.Get<Bf16, 3>("out").values, 0.01);
  ExpectNear(result.lse, golden.Get<float, 2>("lse").values, 1e-6, 1e-5);

  std::vector<std::vector<int32_t>> parts = {{-1, 0, 1, 2, -1}, {}, {-1}};
  for (int32_t i = 3; i < 37; ++i) parts[i < 20 ? 1 : 2].push_back(i);
  const Result spread = Run(q, sink, pool, parts);
  EXPECT_EQ(spread.out, result.out);
  EXPECT_EQ(spread.lse, result.lse);
}

TEST_P(SparseAttentionTest, AnglesTurnBackAsRopeDoes) {
  Random random(92);
  Tensor<Bf16, 3> q(2, 3, 512), expected(2, 3, 512), out(2, 3, 512);
  Tensor<Bf16, 2> keys(5, 512);
  Tensor<float, 1> sink(3);
  Tensor<float, 2> cos(2, 32), sin(2, 32);
  random.Fill(q);
  random.Fill(keys);
  random.Fill(cos);
  random.Fill(sin);
  const Pool pool(keys);
  std::vector<int32_t> list = {0, 1, 2, 3, 4, -1, -1, -1, -1, -1};  // the second sees none
  SparseAttentionArgs args{.q = q, .sink = sink, .scale = kScale, .out = expected};
  args.sources[1] = {.rows = pool.rows(), .index = {list.data(), {2, 5}}};
  kernels.sparse_attention(args, stream);
  kernels.rope({.x = expected, .cos = cos, .sin = sin, .inverse = true}, stream);
  args.out = out.Poison();
  args.cos = cos;
  args.sin = sin;
  kernels.sparse_attention(args, stream);
  EXPECT_EQ(out.values, expected.values);
}

TEST_P(SparseAttentionTest, AQueryThatSeesNoKeyGivesZeroAndMinusInfinity) {
  Random random(91);
  Tensor<Bf16, 3> q(2, 2, 512);
  random.Fill(q);
  Tensor<Bf16, 2> keys(3, 512);
  random.Fill(keys);
  Tensor<float, 1> sink(2);
  const Result result = Run(q, sink, Pool(keys), {{-1, -1, 1, 0}});
  for (int i = 0; i < 1024; ++i) ASSERT_EQ(result.out[i].bits, 0);
  EXPECT_EQ(result.lse[0], -INFINITY);
  EXPECT_EQ(result.lse[1], -INFINITY);
  EXPECT_TRUE(std::isfinite(result.lse[2]));
  const Result none = Run(q, sink, Pool(keys), {});
  EXPECT_EQ(none.lse, std::vector<float>(4, -INFINITY));
}

TEST_P(SparseAttentionTest, OneKeyAndNoSinkGiveThatKey) {
  Random random(92);
  Tensor<Bf16, 3> q(1, 1, 512);
  random.Fill(q, 10);
  Tensor<Bf16, 2> keys(1, 512);
  random.Fill(keys);
  Tensor<float, 1> sink(1);
  sink[0] = -INFINITY;
  const Pool pool(keys);
  float key[512];
  ReadKvRow(pool.rows(), 0, key);
  const Result result = Run(q, sink, pool, {{0}});
  for (int d = 0; d < 512; ++d) ASSERT_EQ(ToFloat(result.out[d]), key[d]);
}

TEST_P(SparseAttentionTest, StaysNearTheReferenceAndIgnoresNeighbours) {
  Random random(93);
  SCOPED_TRACE(random.Trace());
  constexpr int kTokens = 6, kHeads = 4, kKeys = 161;
  Tensor<Bf16, 3> q(kTokens, kHeads, 512);
  random.Fill(q, 2);
  Tensor<Bf16, 2> keys(kKeys, 512);
  random.Fill(keys);
  Tensor<float, 1> sink(kHeads);
  random.Fill(sink);
  std::vector<int32_t> list(kTokens * kKeys, -1);
  for (int32_t& row : list) row = static_cast<int32_t>(random.Below(kKeys + 40)) - 40;
  for (int32_t& row : list) row = std::max(row, -1);
  const Pool pool(keys);
  const Result all = Run(q, sink, pool, {list});
  Tensor<Bf16, 3> expected(kTokens, kHeads, 512);
  SparseAttentionArgs args{.q = q, .sink = sink, .scale = kScale, .out = expected};
  args.sources[0] = {.rows = pool.rows(), .index = {list.data(), {kTokens, kKeys}}};
  kCpuReferenceKernels.sparse_attention(args, stream);
  ExpectNear(all.out, expected.values, 4.5 / 128);
  for (int t = 0; t < kTokens; ++t) {
    const Result one = Run(Rows(q.view, t, 1), sink, pool,
                           {{list.begin() + t * kKeys, list.begin() + (t + 1) * kKeys}});
    ASSERT_EQ(std::memcmp(one.out.data(), &all.out[t * kHeads * 512], kHeads * 1024), 0);
  }
}

}  // namespace
}  // namespace tandem::kernels
