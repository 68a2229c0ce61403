// SPDX-License-Identifier: Apache-2.0
// Goal: pooled rows and the state behind them. Method: golden cases of the three kinds (FP8 and FP4
// roundings may flip where the sum's order moves a value over a tie: at most 1 in 200, by one
// step); any split of a sequence into steps gives the same rows and state, bit for bit, from a
// state full of garbage, whatever else is in the step.
#include "kernels/attention/compressor.h"

#include <algorithm>

#include "tests/kernels/attention/sequences.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

struct Kind {
  const char* golden;
  int64_t ratio;
  int64_t dim;
};
constexpr Kind kKinds[] = {
    {"compressor_csa", 4, 512}, {"compressor_hca", 128, 512}, {"compressor_indexer", 4, 128}};

// One sequence's compressor with its pool and state.
struct OneSequence {
  OneSequence(const KernelTable& kernels, const Kind& kind)
      : kernels(kernels),
        kind(kind),
        golden(kind.golden),
        width(kind.ratio == 4 ? 2 * kind.dim : kind.dim),
        state(2, 2, kind.ratio == 4 ? 8 : 128, width),
        pool(3 * KvPageBytes(64), 0xA5) {
    state.Poison();
  }
  // Tokens first .. first+n−1 of u and g, as one step.
  void Step(TensorView<const float, 2> u, TensorView<const float, 2> g, int32_t first, int32_t n) {
    const Sequences steps({{.slot = 1, .first = first, .tokens = n, .pages = {2, 0}}});
    CompressorArgs args{.u = Rows(u, first, n),
                        .g = Rows(g, first, n),
                        .ape = ape,
                        .norm = norm,
                        .norm_eps = 1e-6f,
                        .frequencies = frequencies,
                        .batch = steps.batch,
                        .state = state};
    if (kind.dim == 128) {
      args.indexer_rows = {.base = pool.data(), .pages = 3};
    } else {
      args.kv_rows = {.base = pool.data(), .pages = 3, .rows_per_page = 256 / kind.ratio};
    }
    kernels.compressor(args, stream);
  }
  void Read(int64_t w, float* row) const {
    const int64_t index = 2 * (256 / kind.ratio) + w;  // page 2
    if (kind.dim == 128) {
      ReadIndexerRow({.base = pool.data(), .pages = 3}, index, row);
    } else {
      ReadKvRow({.base = pool.data(), .pages = 3, .rows_per_page = 256 / kind.ratio}, index, row);
    }
  }

  const KernelTable& kernels;
  Kind kind;
  Golden golden;
  int64_t width;
  Tensor<float, 4> state;
  std::vector<uint8_t> pool;
  Stream stream;
  Tensor<float, 2> ape = golden.Get<float, 2>("ape");
  Tensor<Bf16, 1> norm = golden.Get<Bf16, 1>("norm");
  Tensor<float, 1> frequencies = golden.Get<float, 1>("frequencies");
};

class CompressorTest : public OnTable {};
ON_EVERY_TABLE(CompressorTest);

TEST_P(CompressorTest, EqualsTheGoldens) {
  for (const Kind& kind : kKinds) {
    OneSequence run(kernels, kind);
    const auto x = run.golden.Get<Bf16, 2>("x");
    const int64_t tokens = x.view.shape[0];
    Tensor<float, 2> u(tokens, run.width), g(tokens, run.width);
    OwnedWeight wkv(WeightFormat::kBf16, run.width, 16, run.golden.bytes("wkv"), {});
    OwnedWeight wgate(WeightFormat::kBf16, run.width, 16, run.golden.bytes("wgate"), {});
    kernels.bf16_linear({.x = x, .weight = wkv.For(kernels), .y = u}, stream);
    kernels.bf16_linear({.x = x, .weight = wgate.For(kernels), .y = g}, stream);
    run.Step(u, g, 0, static_cast<int32_t>(tokens));
    const auto rows = run.golden.Get<float, 2>("rows");
    std::vector<float> row(kind.dim);
    int64_t flipped = 0;
    for (int64_t w = 0; w < rows.view.shape[0]; ++w) {
      run.Read(w, row.data());
      for (int64_t j = 0; j < kind.dim; ++j) {
        const float expected = rows[w * kind.dim + j];
        if (row[j] == expected) continue;
        ++flipped;
        const double step = kind.dim == 128 ? 0.5 : 0.125;
        EXPECT_NEAR(row[j], expected, step * std::max(std::abs(expected), 0.25f))
            << kind.golden << w << " " << j;
      }
    }
    EXPECT_LE(flipped * 200, static_cast<int64_t>(rows.values.size())) << kind.golden;
  }
}

TEST_P(CompressorTest, AnySplitGivesTheSameRowsAndState) {
  Random random(71);
  SCOPED_TRACE(random.Trace());
  for (const Kind& kind : kKinds) {
    constexpr int32_t kTokens = 263;  // past a page, a partial window of both ratios
    const int64_t width = kind.ratio == 4 ? 2 * kind.dim : kind.dim;
    Tensor<float, 2> u(kTokens, width), g(kTokens, width);
    random.Fill(u);
    random.Fill(g, 2);
    OneSequence whole(kernels, kind), ones(kernels, kind), ragged(kernels, kind);
    whole.Step(u, g, 0, kTokens);
    for (int32_t p = 0; p < kTokens; ++p) ones.Step(u, g, p, 1);
    for (int32_t p = 0, n; p < kTokens; p += n) {
      n = std::min<int32_t>(kTokens - p, static_cast<int32_t>(1 + random.Below(90)));
      ragged.Step(u, g, p, n);
    }
    EXPECT_EQ(whole.pool, ones.pool) << kind.golden;
    EXPECT_EQ(whole.pool, ragged.pool) << kind.golden;
    EXPECT_EQ(std::memcmp(whole.state.values.data(), ones.state.values.data(),
                          4 * whole.state.values.size()),
              0);
    EXPECT_EQ(std::memcmp(whole.state.values.data(), ragged.state.values.data(),
                          4 * whole.state.values.size()),
              0);
  }
}

TEST_P(CompressorTest, ARowBeyondThePageTableIsFatal) {
  OneSequence run(kernels, kKinds[0]);
  Tensor<float, 2> u(516, 1024), g(516, 1024);
  run.Step(u, g, 0, 512);
  EXPECT_DEATH(run.Step(u, g, 512, 4), "pages");
}

}  // namespace
}  // namespace tandem::kernels
