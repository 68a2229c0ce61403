// SPDX-License-Identifier: Apache-2.0
// All that qkv_finish reads and writes with every part of it, for a step in which each sequence has
// one token: on the host, and copies of it wherever a table works.
#pragma once

#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/attention/qkv_finish.h"
#include "kernels/rope/rope_table.h"
#include "tests/kernels/attention/sequences.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {

// What a layer has; ratio 0: no compressor.
struct FinishKind {
  int64_t ratio = 0;
  bool indexer = false;
  bool commit = true;
};

struct FinishWorld {
  static constexpr int64_t kHeads = 9, kIndexHeads = 8, kPagesEach = 2;

  struct Compressor {
    Compressor(int64_t sequences, int64_t ratio, int64_t dim, Random& random)
        : u(sequences, Width(ratio, dim)),
          g(sequences, Width(ratio, dim)),
          ape(ratio, Width(ratio, dim)),
          norm(dim),
          state(sequences, 2, ratio == 4 ? 8 : 128, Width(ratio, dim)),
          pool(sequences * kPagesEach *
               (dim == 128 ? kIndexPageBytes : KvPageBytes(kPageTokens / ratio))) {
      random.Fill(u);
      random.Fill(g, 2);
      random.Fill(ape);
      random.Fill(norm);
      random.Fill(state);
      pool.Poison();
    }
    static int64_t Width(int64_t ratio, int64_t dim) { return ratio == 4 ? 2 * dim : dim; }
    Tensor<float, 2> u, g, ape;
    Tensor<Bf16, 1> norm;
    Tensor<float, 4> state;
    Tensor<uint8_t, 1> pool;
  };

  FinishWorld(int64_t sequences, int64_t ratio, Random& random)
      : q(sequences, kHeads, 512),
        kv(sequences, 512),
        weight(512),
        cos(sequences, 32),
        sin(sequences, 32),
        frequencies(32),
        index(sequences),
        chunk((sequences + 63) / 64 * KvPageBytes(64)),
        ring(2 * sequences * KvPageBytes(64)),
        compressor(sequences, ratio == 0 ? 4 : ratio, 512, random),
        indexer(sequences, 4, 128, random),
        index_x(sequences, kIndexHeads, 128),
        index_q(sequences, kIndexHeads, 64),
        index_scale(sequences, kIndexHeads, 4) {
    random.Fill(q, 3);
    random.Fill(kv, 2);
    random.Fill(weight);
    random.Fill(index_x);
    for (size_t i = 0; i < cos.values.size(); ++i) {
      const float angle = random.Normal() * 100;
      cos.values[i] = std::cos(angle);
      sin.values[i] = std::sin(angle);
    }
    RopeFrequencies({.base = 160000}, frequencies);
    std::iota(index.values.begin(), index.values.end(), 0);
    chunk.Poison();
    ring.Poison();
    index_q.Poison();
    index_scale.Poison();
    for (int64_t s = 0; s < sequences; ++s) {
      const auto page = static_cast<int32_t>(s * kPagesEach);
      // Some complete a row and some do not; some are new.
      list.push_back({.slot = static_cast<int32_t>(sequences - 1 - s),
                      .first = static_cast<int32_t>(s % 3 == 0   ? 255
                                                    : s % 3 == 1 ? random.Below(500)
                                                                 : 0),
                      .tokens = 1,
                      .pages = {page, page + 1}});
    }
  }

  Tensor<Bf16, 3> q;
  Tensor<Bf16, 2> kv;
  Tensor<Bf16, 1> weight;
  Tensor<float, 2> cos, sin;
  Tensor<float, 1> frequencies;
  Tensor<int32_t, 1> index;
  Tensor<uint8_t, 1> chunk, ring;
  Compressor compressor, indexer;
  Tensor<Bf16, 3> index_x;
  Tensor<uint8_t, 3> index_q;
  Tensor<Ue8m0, 3> index_scale;
  std::vector<Sequence> list;
};

// A copy in Holder's tensors: Tensor or DeviceTensor.
template <template <typename, int> class Holder>
struct FinishSide {
  struct Compressor {
    explicit Compressor(const FinishWorld::Compressor& c)
        : u(c.u), g(c.g), ape(c.ape), norm(c.norm), state(c.state), pool(c.pool) {}
    Holder<float, 2> u, g, ape;
    Holder<Bf16, 1> norm;
    Holder<float, 4> state;
    Holder<uint8_t, 1> pool;
  };

  FinishSide(const FinishWorld& w, const Batch& batch)
      : batch(batch),
        q(w.q),
        kv(w.kv),
        weight(w.weight),
        cos(w.cos),
        sin(w.sin),
        frequencies(w.frequencies),
        index(w.index),
        chunk(w.chunk),
        ring(w.ring),
        compressor(w.compressor),
        indexer(w.indexer),
        index_x(w.index_x),
        index_q(w.index_q),
        index_scale(w.index_scale) {}

  WindowCommitArgs Commit() {
    const int64_t slots = batch.sequences();
    return {.batch = batch,
            .chunk = Rows(),
            .ring = {.base = View<uint8_t, 1>(ring).data, .pages = 2 * slots}};
  }
  CompressorArgs Compress() {
    const int64_t ratio = View<float, 2>(compressor.ape).shape[0];
    CompressorArgs args = Pool(compressor);
    args.kv_rows = {.base = View<uint8_t, 1>(compressor.pool).data,
                    .pages = batch.sequences() * FinishWorld::kPagesEach,
                    .rows_per_page = kPageTokens / ratio};
    return args;
  }
  CompressorArgs CompressIndexer() {
    CompressorArgs args = Pool(indexer);
    args.indexer_rows = {.base = View<uint8_t, 1>(indexer.pool).data,
                         .pages = batch.sequences() * FinishWorld::kPagesEach};
    return args;
  }
  IndexQueryArgs IndexQuery() {
    return {.x = index_x, .cos = cos, .sin = sin, .q = index_q, .scale = index_scale};
  }
  QkvFinishArgs Finish() {
    return {.q = q,
            .kv = kv,
            .kv_weight = weight,
            .cos = cos,
            .sin = sin,
            .eps = 1e-6f,
            .index = index,
            .rows = Rows()};
  }

  // With all parts of `kind`, one call.
  void RunTogether(const KernelTable& table, const FinishKind& kind, Stream& stream) {
    QkvFinishArgs args = Finish();
    if (kind.commit) args.commit = Commit();
    if (kind.ratio > 0) args.compressor = Compress();
    if (kind.indexer) {
      args.indexer = CompressIndexer();
      args.index_query = IndexQuery();
    }
    table.qkv_finish(args, stream);
  }
  void RunApart(const KernelTable& table, const FinishKind& kind, Stream& stream) {
    table.qkv_finish(Finish(), stream);
    if (kind.commit) table.window_commit(Commit(), stream);
    if (kind.ratio > 0) table.compressor(Compress(), stream);
    if (!kind.indexer) return;
    table.compressor(CompressIndexer(), stream);
    table.index_query(IndexQuery(), stream);
  }

  Batch batch;
  Holder<Bf16, 3> q;
  Holder<Bf16, 2> kv;
  Holder<Bf16, 1> weight;
  Holder<float, 2> cos, sin;
  Holder<float, 1> frequencies;
  Holder<int32_t, 1> index;
  Holder<uint8_t, 1> chunk, ring;
  Compressor compressor, indexer;
  Holder<Bf16, 3> index_x;
  Holder<uint8_t, 3> index_q;
  Holder<Ue8m0, 3> index_scale;

 private:
  template <typename T, int kRank>
  static TensorView<T, kRank> View(const Holder<T, kRank>& holder) {
    return holder;
  }
  KvPages Rows() {
    return {.base = View<uint8_t, 1>(chunk).data, .pages = (batch.tokens() + 63) / 64};
  }
  CompressorArgs Pool(const Compressor& c) const {
    return {.u = c.u,
            .g = c.g,
            .ape = c.ape,
            .norm = c.norm,
            .norm_eps = 1e-6f,
            .frequencies = frequencies,
            .batch = batch,
            .state = c.state};
  }
};

// `read(tensor)`: a tensor's values. All that either side may have written is the same, bit for
// bit.
template <typename Side, typename Read>
void ExpectSameBits(const Side& a, const Side& b, const Read& read) {
  const auto same = [&](const auto& one, const auto& other) {
    const auto x = read(one), y = read(other);
    return std::memcmp(x.data(), y.data(), x.size() * sizeof(x[0])) == 0;
  };
  EXPECT_TRUE(same(a.q, b.q));
  EXPECT_TRUE(same(a.chunk, b.chunk));
  EXPECT_TRUE(same(a.ring, b.ring));
  EXPECT_TRUE(same(a.compressor.state, b.compressor.state));
  EXPECT_TRUE(same(a.compressor.pool, b.compressor.pool));
  EXPECT_TRUE(same(a.indexer.state, b.indexer.state));
  EXPECT_TRUE(same(a.indexer.pool, b.indexer.pool));
  EXPECT_TRUE(same(a.index_q, b.index_q));
  EXPECT_TRUE(same(a.index_scale, b.index_scale));
}

inline constexpr FinishKind kFinishKinds[] = {{},
                                              {.ratio = 4, .indexer = true},
                                              {.ratio = 128},
                                              {.ratio = 4, .indexer = true, .commit = false}};

}  // namespace tandem::kernels
