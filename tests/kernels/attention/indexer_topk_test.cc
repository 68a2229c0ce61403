// SPDX-License-Identifier: Apache-2.0
// Goal: the rows that the indexer chooses. Method: the golden case; random input against the
// definition in fp64 (a row may differ only if its score is within 1e-5 of the threshold); ties,
// few rows, causality and page placement.
#include "kernels/attention/indexer_topk.h"

#include <algorithm>

#include "tests/kernels/attention/sequences.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class IndexerTopkTest : public OnTable {
 protected:
  static constexpr int kHeads = 4;
  // Ordinals of the rows chosen for a query at position p, over keys [n,128] kept in the pages
  // `table`.
  std::vector<int32_t> Choose(TensorView<const Bf16, 2> q, const std::vector<float>& proj,
                              TensorView<const Bf16, 2> keys, int32_t p, int64_t topk,
                              const std::vector<int32_t>& table) {
    std::vector<uint8_t> pool(8 * kIndexPageBytes, 0xA5);
    for (int64_t j = 0; j < keys.shape[0]; ++j) {
      WriteIndexerRow(keys.row(j), {.base = pool.data(), .pages = 8},
                      CompressedRow(table.data(), j, 4));
    }
    Tensor<uint8_t, 3> codes(1, kHeads, 64);
    Tensor<Ue8m0, 3> scale(1, kHeads, 4);
    kernels.fp4_quant({.x = q,
                       .q = {codes.values.data(), {kHeads, 64}},
                       .scale = {scale.values.data(), {kHeads, 4}}},
                      stream);
    const Sequences steps({{.slot = 0, .first = p, .tokens = 1, .pages = table}});
    Tensor<int32_t, 2> rows(1, topk);
    kernels.indexer_topk({.q = codes,
                          .q_scale = scale,
                          .proj = {proj.data(), {1, kHeads}},
                          .weight_scale = 1 / std::sqrt(128.0f * kHeads),
                          .batch = steps.batch,
                          .keys = {.base = pool.data(), .pages = 8},
                          .rows = rows.Poison()},
                         stream);
    std::vector<int32_t> ordinals;
    for (const int32_t row : rows.values) {
      if (row < 0) continue;
      const auto page = std::find(table.begin(), table.end(), row / 64);
      EXPECT_NE(page, table.end());
      ordinals.push_back(static_cast<int32_t>(page - table.begin()) * 64 + row % 64);
    }
    return ordinals;
  }
};
ON_EVERY_TABLE(IndexerTopkTest);

TEST_P(IndexerTopkTest, EqualsTheGolden) {
  const Golden golden("indexer_topk");
  const auto q = golden.Get<Bf16, 3>("q");
  const auto proj = golden.Get<float, 2>("proj");
  const auto k = golden.Get<Bf16, 2>("k");
  const auto top = golden.Get<int32_t, 2>("top");
  for (int t = 0; t < 2; ++t) {
    const std::vector<float> p(proj.view.row(t), proj.view.row(t + 1));
    EXPECT_EQ(Choose({q.view.row(t), {kHeads, 128}}, p, k, 159, 8, {3}),
              std::vector<int32_t>(top.view.row(t), top.view.row(t + 1)));
  }
}

TEST_P(IndexerTopkTest, ChoosesByTheDefinitionWhereverThePagesLie) {
  Random random(81);
  SCOPED_TRACE(random.Trace());
  constexpr int kRows = 150;
  Tensor<Bf16, 2> q(kHeads, 128), keys(kRows, 128);
  random.Fill(q);
  random.Fill(keys);
  std::vector<float> proj(kHeads);
  for (float& w : proj) w = random.Normal();
  const auto chosen = Choose(q, proj, keys, 4 * kRows - 1, 32, {0, 1, 2});
  EXPECT_EQ(chosen, Choose(q, proj, keys, 4 * kRows - 1, 32, {7, 3, 5}));
  ASSERT_EQ(chosen.size(), 32u);

  std::vector<uint8_t> page(kIndexPageBytes);
  std::vector<std::vector<float>> rows(kHeads + kRows, std::vector<float>(128));
  for (int i = 0; i < kHeads + kRows; ++i) {
    WriteIndexerRow(i < kHeads ? q.view.row(i) : keys.view.row(i - kHeads),
                    {.base = page.data(), .pages = 1}, 0);
    ReadIndexerRow({.base = page.data(), .pages = 1}, 0, rows[i].data());
  }
  std::vector<double> score(kRows);
  for (int j = 0; j < kRows; ++j) {
    for (int h = 0; h < kHeads; ++h) {
      double dot = 0;
      for (int d = 0; d < 128; ++d) dot += static_cast<double>(rows[h][d]) * rows[kHeads + j][d];
      score[j] += std::max(dot, 0.0) * RoundBf16(RoundBf16(proj[h]) / std::sqrt(128.0f * kHeads));
    }
  }
  double worst_in = INFINITY, best_out = -INFINITY;
  for (int j = 0; j < kRows; ++j) {
    const bool in = std::find(chosen.begin(), chosen.end(), j) != chosen.end();
    if (in) worst_in = std::min(worst_in, score[j]);
    if (!in) best_out = std::max(best_out, score[j]);
  }
  EXPECT_GE(worst_in, best_out - 1e-5);
  EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
}

TEST_P(IndexerTopkTest, TiesGoToTheLowestRow) {
  Tensor<Bf16, 2> q(kHeads, 128), keys(20, 128);
  keys[7 * 128] = keys[12 * 128] = ToBf16(1);
  q[0] = ToBf16(1);
  EXPECT_EQ(Choose(q, {1, 1, 1, 1}, keys, 79, 4, {0}), (std::vector<int32_t>{0, 1, 7, 12}));
  EXPECT_EQ(Choose(q, {-1, 1, 1, 1}, keys, 79, 4, {0}), (std::vector<int32_t>{0, 1, 2, 3}));
}

TEST_P(IndexerTopkTest, TakesAllRowsThatAreCompleteIfTheyFit) {
  Tensor<Bf16, 2> q(kHeads, 128), keys(64, 128), more(70, 128);
  EXPECT_TRUE(Choose(q, {1, 1, 1, 1}, keys, 2, 4, {0}).empty());
  EXPECT_EQ(Choose(q, {1, 1, 1, 1}, keys, 3, 4, {0}), (std::vector<int32_t>{0}));
  EXPECT_EQ(Choose(q, {1, 1, 1, 1}, keys, 18, 4, {0}), (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(Choose(q, {1, 1, 1, 1}, more, 263, 66, {4, 2}).back(), 65);
}

}  // namespace
}  // namespace tandem::kernels
