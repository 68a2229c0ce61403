// SPDX-License-Identifier: Apache-2.0
// Goal: attention and the operations around it at Flash's sizes: 32 heads are a shard of two, 16 of
// four, 64 all. Method: bench.h; decode reads rows of different sequences, prefill the window and
// the chosen rows of one.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/kernel_table.h"
#include "tests/bench/kernels/cuda/inputs.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kPage = KvPageBytes(kBlockRows);

struct Shape {
  std::string name;
  int64_t tokens = 0, heads = 0, ring = 0, chunk = 0, rows = 0;
  bool prefill = false;
  double bar = 0, bar_us = 0;
};

// Rows of a pool that lists name at random: of its own part of the pool for each token in decode,
// of one part for all in prefill.
std::vector<int32_t> RandomLists(int64_t tokens, int64_t columns, int64_t pool_rows, bool own) {
  std::vector<int32_t> lists(tokens * columns);
  uint64_t z = 12345;
  const int64_t part = own ? pool_rows / tokens : pool_rows;
  for (int64_t i = 0; i < tokens * columns; ++i) {
    z = z * 6364136223846793005u + 1442695040888963407u;
    const int64_t base = own ? i / columns * part : 0;
    // In order within a token, as the indexer and the window give them, each row once.
    const int64_t step = part / columns;
    lists[i] =
        static_cast<int32_t>(base + i % columns * step + static_cast<int64_t>(z >> 33) % step);
  }
  return lists;
}

// The 128 raw rows before and at each token of a step.
std::vector<int32_t> WindowLists(int64_t tokens) {
  std::vector<int32_t> lists(tokens * kWindow);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < kWindow; ++i) {
      lists[t * kWindow + i] =
          static_cast<int32_t>(t - kWindow + 1 + i < 0 ? i : t - kWindow + 1 + i);
    }
  }
  return lists;
}

// Random codes under scales of 2^-6: rows that no softmax overflows on.
uint8_t* RandomRows(int64_t pages, uint64_t seed) {
  constexpr int kScale = 127 - 6;
  uint8_t* rows = RandomBytes(pages * kPage, seed);
  KERNEL_CHECK_EQ(cudaMemset2D(rows + kBlockRows * kKvRowDataBytes, kPage, kScale,
                               kBlockRows * kKvRowScaleBytes, static_cast<size_t>(pages)),
                  cudaSuccess);
  return rows;
}

BenchCase Attention(const Shape& s) {
  const int64_t keys = s.ring + s.chunk + s.rows;
  const int64_t vector_bytes = 2 * 2 * s.tokens * s.heads * kHeadDim;
  const int64_t raw = s.prefill ? s.tokens : s.tokens * (s.ring + s.chunk);
  // What is read once: in prefill the chosen rows come from a 64K context.
  const int64_t pool = s.prefill ? 16384 : s.tokens * std::max<int64_t>(s.rows, 1) * 2;
  const int64_t raw_pages = (raw + 63) / 64 + 1, pool_pages = (pool + 63) / 64;
  const int64_t row_bytes =
      s.prefill ? (raw_pages + pool_pages) * kPage : s.tokens * keys * kKvRowBytes;
  return {
      .name = "sparse_attention " + s.name + " H=" + std::to_string(s.heads) +
              " keys=" + std::to_string(keys),
      .tokens = s.tokens,
      .bytes = row_bytes + vector_bytes + 4 * s.tokens * keys,
      .flop = 4 * kHeadDim * s.heads * s.tokens * keys,
      .bar = s.bar,
      .bar_us = s.bar_us,
      .make = [=](int64_t sets) {
        auto* q = reinterpret_cast<Bf16*>(RandomBytes(sets * vector_bytes / 2, 1));
        auto* out = reinterpret_cast<Bf16*>(RandomBytes(sets * vector_bytes / 2, 2));
        auto* sink = reinterpret_cast<float*>(RandomBytes(4 * s.heads, 3));
        uint8_t* raw_rows = RandomRows(sets * raw_pages, 4);
        uint8_t* rows = RandomRows(sets * pool_pages, 5);
        const int64_t window = s.ring + s.chunk;
        int32_t* ring =
            Upload(s.prefill ? WindowLists(s.tokens) : RandomLists(s.tokens, window, raw, true));
        int32_t* chosen = Upload(RandomLists(s.tokens, s.rows, pool, !s.prefill));
        return [=](int64_t set, Stream& stream) {
          const int64_t at = set * s.tokens * s.heads * kHeadDim;
          SparseAttentionArgs args{.q = {q + at, {s.tokens, s.heads, kHeadDim}},
                                   .sink = {sink, {s.heads}},
                                   .scale = 0.0442f,
                                   .out = {out + at, {s.tokens, s.heads, kHeadDim}}};
          args.sources[0] = {
              .rows = {.base = raw_rows + set * raw_pages * kPage, .pages = raw_pages},
              .index = {ring, {s.tokens, window}}};
          args.sources[2] = {.rows = {.base = rows + set * pool_pages * kPage, .pages = pool_pages},
                             .index = {chosen, {s.tokens, s.rows}}};
          kCudaKernels.sparse_attention(args, stream);
        };
      }};
}

BenchCase Finish(int64_t tokens, int64_t heads) {
  const int64_t pages = (tokens + 63) / 64;
  return {.name = "qkv_finish H=" + std::to_string(heads),
          .tokens = tokens,
          .bytes = tokens * (4 * heads * kHeadDim + 2 * kHeadDim + kKvRowBytes + 260),
          .flop = 0,
          .make = [=](int64_t sets) {
            const int64_t n = tokens * heads * kHeadDim;
            auto* q = reinterpret_cast<Bf16*>(RandomBytes(sets * 2 * n, 1));
            auto* kv = reinterpret_cast<Bf16*>(RandomBytes(sets * 2 * tokens * kHeadDim, 2));
            auto* weight = reinterpret_cast<Bf16*>(RandomBytes(2 * kHeadDim, 3));
            auto* angles = reinterpret_cast<float*>(RandomBytes(4 * 32 * tokens, 4));
            uint8_t* rows = RandomBytes(sets * pages * kPage, 5);
            std::vector<int32_t> list(tokens);
            for (int64_t t = 0; t < tokens; ++t) list[t] = static_cast<int32_t>(t);
            int32_t* index = Upload(list);
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.qkv_finish(
                  {.q = {q + set * n, {tokens, heads, kHeadDim}},
                   .kv = {kv + set * tokens * kHeadDim, {tokens, kHeadDim}},
                   .kv_weight = {weight, {kHeadDim}},
                   .cos = {angles, {tokens, 32}},
                   .sin = {angles, {tokens, 32}},
                   .eps = 1e-6f,
                   .index = {index, {tokens}},
                   .rows = {.base = rows + set * pages * kPage, .pages = pages}},
                  stream);
            };
          }};
}

// A step's rows: written, listed, and committed to the ring. A sequence of `context` tokens each.
struct RowCase {
  int64_t sequences = 0, tokens = 0, context = 0;
  int64_t all() const { return sequences * tokens; }
  int64_t blocks() const { return (all() + kBlockRows - 1) / kBlockRows; }
  Batch batch() const {
    return UploadBatch(sequences, tokens, context - tokens, context / kPageTokens);
  }
};

BenchCase KvWrite(const RowCase& c) {
  return {.name = "kv_write",
          .tokens = c.all(),
          .bytes = c.all() * (2 * kHeadDim + kKvRowBytes + 4),
          .make = [=](int64_t sets) {
            const int64_t n = c.all() * kHeadDim, bytes = c.blocks() * kPage;
            auto* kv = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * n, 1));
            uint8_t* rows = RandomBytes(sets * bytes, 2);
            std::vector<int32_t> list(c.all());
            std::iota(list.begin(), list.end(), 0);
            const int32_t* index = Upload(list);
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.kv_write({.kv = {kv + set * n, {c.all(), kHeadDim}},
                                     .index = {index, {c.all()}},
                                     .rows = {.base = rows + set * bytes, .pages = c.blocks()}},
                                    stream);
            };
          }};
}

BenchCase WindowIndex(const RowCase& c) {
  return {.name = "window_index",
          .tokens = c.all(),
          .bytes = c.all() * 4 * 255,
          .make = [=](int64_t sets) {
            const Batch batch = c.batch();
            auto* lists = reinterpret_cast<int32_t*>(RandomBytes(sets * c.all() * 4 * 255, 1));
            return [=](int64_t set, Stream& stream) {
              int32_t* ring = lists + set * c.all() * 255;
              kCudaKernels.window_index({.batch = batch,
                                         .ring = {ring, {c.all(), 127}},
                                         .chunk = {ring + c.all() * 127, {c.all(), kWindow}}},
                                        stream);
            };
          }};
}

BenchCase WindowCommit(const RowCase& c) {
  const int64_t kept = c.sequences * std::min<int64_t>(c.tokens, kWindow);
  return {.name = "window_commit",
          .tokens = c.all(),
          .bytes = 2 * kKvRowBytes * kept,
          .set_bytes = c.blocks() * kPage,
          .make = [=](int64_t sets) {
            const Batch batch = c.batch();
            const int64_t bytes = c.blocks() * kPage, ring = 2 * c.sequences;
            uint8_t* chunk = RandomBytes(sets * bytes, 1);
            uint8_t* rings = RandomBytes(ring * kPage, 2);
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.window_commit(
                  {.batch = batch,
                   .chunk = {.base = chunk + set * bytes, .pages = c.blocks()},
                   .ring = {.base = rings, .pages = ring}},
                  stream);
            };
          }};
}

BenchCase CompressedIndex(const RowCase& c, int ratio) {
  const int64_t most = c.context / ratio;
  return {.name = "compressed_index ratio=" + std::to_string(ratio),
          .tokens = c.all(),
          .bytes = 4 * c.all() * most,
          .make = [=](int64_t sets) {
            const Batch batch = c.batch();
            auto* lists = reinterpret_cast<int32_t*>(RandomBytes(4 * sets * c.all() * most, 1));
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.compressed_index(
                  {.batch = batch,
                   .ratio = ratio,
                   .rows = {lists + set * c.all() * most, {c.all(), most}}},
                  stream);
            };
          }};
}

const Cases kRows("rows", [] {
  std::vector<BenchCase> cases;
  const RowCase one = {.sequences = 1, .tokens = 1, .context = 8192};
  const RowCase batch = {.sequences = 64, .tokens = 1, .context = 8192};
  const RowCase chunk = {.sequences = 1, .tokens = 4096, .context = 8192};
  for (const RowCase& c : {one, batch, chunk}) {
    cases.push_back(KvWrite(c));
    cases.push_back(WindowIndex(c));
    cases.push_back(WindowCommit(c));
    cases.push_back(CompressedIndex(c, 128));
  }
  cases.push_back(CompressedIndex({.sequences = 64, .tokens = 1, .context = 1 << 20}, 128));
  return cases;
});

const Cases kAttention("attention", [] {
  std::vector<BenchCase> cases;
  for (const int64_t heads : {32, 16, 64}) {
    for (const int64_t tokens : {1, 8, 64}) {
      cases.push_back(Attention({.name = "CSA",
                                 .tokens = tokens,
                                 .heads = heads,
                                 .ring = 127,
                                 .chunk = 1,
                                 .rows = 512,
                                 .bar = heads == 32 && tokens == 64 ? 0.6 : 0,
                                 .bar_us = heads == 32 && tokens == 1 ? 15.0 : 0}));
    }
  }
  for (const int64_t tokens : {1, 8}) {
    cases.push_back(Attention(
        {.name = "HCA 1M", .tokens = tokens, .heads = 32, .ring = 127, .chunk = 1, .rows = 8192}));
  }
  return cases;
});

const Cases kPrefill("prefill_attention", [] {
  std::vector<BenchCase> cases;
  for (const int64_t heads : {32, 16, 64}) {
    cases.push_back(Attention({.name = "prefill",
                               .tokens = 4096,
                               .heads = heads,
                               .ring = 127,
                               .chunk = 1,
                               .rows = 512,
                               .prefill = true,
                               .bar = heads == 32 ? 0.3 : 0}));
  }
  return cases;
});

const Cases kFinish("qkv_finish", [] {
  return std::vector<BenchCase>{Finish(1, 32), Finish(64, 32), Finish(4096, 32)};
});

}  // namespace
}  // namespace tandem::kernels
