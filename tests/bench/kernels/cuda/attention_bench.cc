// SPDX-License-Identifier: Apache-2.0
// Goal: attention and the operations around it at Flash's sizes: 32 heads are a shard of two, 16 of
// four, 64 all. Method: bench.h; decode reads rows of different sequences, prefill the window and
// the chosen rows of one.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <vector>

#include "kernels/common/contract.h"
#include "kernels/kernel_table.h"
#include "tests/bench/kernels/cuda/bench.h"

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

int32_t* OnDevice(const std::vector<int32_t>& list) {
  const auto bytes = static_cast<int64_t>(list.size() * sizeof(int32_t));
  auto* copy = reinterpret_cast<int32_t*>(RandomBytes(bytes, 1));
  KERNEL_CHECK_EQ(cudaMemcpy(copy, list.data(), static_cast<size_t>(bytes), cudaMemcpyHostToDevice),
                  cudaSuccess);
  return copy;
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
            OnDevice(s.prefill ? WindowLists(s.tokens) : RandomLists(s.tokens, window, raw, true));
        int32_t* chosen = OnDevice(RandomLists(s.tokens, s.rows, pool, !s.prefill));
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
            int32_t* index = OnDevice(list);
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
