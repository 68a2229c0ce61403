// SPDX-License-Identifier: Apache-2.0
// From scores to the chosen rows of a token, in ascending order: radix selection over the scores'
// ordered integers, 12 + 10 + 10 bits, into a bitmap.
//
// First every chunk of rows is filtered by the bin of the K-th best: a row above it is chosen (its
// bit is set), one inside it is a candidate. Then one block refines the candidates to the exact
// threshold. If more rows equal it than there is room for, they are taken in ascending order. So
// neither the order of atomics nor of blocks shows. Split over blocks, the last one of a token to
// arrive does the second part; nobody waits. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/indexer_query.cuh"
#include "kernels/common/cuda/reduce.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kSelectThreads = 512;
inline constexpr int kSelectWarps = kSelectThreads / 32;
inline constexpr int kBallots = 8;  // of 32 rows, a warp
inline constexpr int kChunkRows = kSelectWarps * kBallots * 32;
inline constexpr int kLevelBits = 10;  // of the second and third level
inline constexpr int kLevelBins = 1 << kLevelBits;
inline constexpr int kOwnCandidates = 4;  // a thread keeps
static_assert(kBinShift == 2 * kLevelBits && kLevelBins == 2 * kSelectThreads);

struct Threshold {
  uint32_t bin;
  uint32_t above;  // rows in higher bins
  uint32_t count;  // rows in it
};

// Sums of the threads before this one; `total` of all.
__device__ __forceinline__ uint32_t ExclusiveScan(uint32_t own, uint32_t* total) {
  __shared__ uint32_t warp_sums[kSelectWarps];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const uint32_t scan = WarpScan(own);
  __syncthreads();  // the words may still be read by the scan before
  if (lane == 31) warp_sums[warp] = scan;
  __syncthreads();
  uint32_t before = 0, all = 0;
#pragma unroll
  for (int w = 0; w < kSelectWarps; ++w) {
    if (w < warp) before += warp_sums[w];
    all += warp_sums[w];
  }
  *total = all;
  return before + scan - own;
}

// The bin that holds the wanted-th largest; there are at least so many. Bins lie in shared memory,
// or in device memory where other blocks made them.
template <int kCount>
__device__ __forceinline__ Threshold FindThreshold(const uint32_t* bins, bool shared,
                                                   uint32_t wanted) {
  __shared__ Threshold found;
  constexpr int kPairs = kCount / kSelectThreads / 2;
  const int first = kCount - (static_cast<int>(threadIdx.x) + 1) * 2 * kPairs;
  uint2 own[kPairs];
  uint32_t sum = 0;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const auto* from = reinterpret_cast<const uint2*>(bins + first) + i;
    own[i] = shared ? *from : __ldcg(from);
    sum += own[i].x + own[i].y;
  }
  uint32_t total = 0, above = ExclusiveScan(sum, &total);
  if (above < wanted && above + sum >= wanted) {
#pragma unroll
    for (int i = 2 * kPairs - 1; i >= 0; --i) {
      const uint32_t count = i % 2 == 0 ? own[i / 2].x : own[i / 2].y;
      if (above < wanted && above + count >= wanted) {
        found = {static_cast<uint32_t>(first + i), above, count};
      }
      above += count;
    }
  }
  __syncthreads();
  return found;
}

// What the selection of one token works on.
struct TokenRows {
  const uint32_t* keys;
  uint32_t* sure;     // a bit a row
  uint32_t* tie;      // a bit a row, in device memory; used only if there is no room for all ties
  uint2* candidates;  // null: looked up
  int32_t* counters;
  int32_t rows;
  uint32_t bin;  // of the K-th best
};

// One chunk's bits and candidates.
__device__ __forceinline__ void FilterChunk(const TokenRows& token, int32_t chunk) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int32_t base = chunk * kChunkRows + warp * kBallots * 32;
  if (base >= token.rows) return;
  uint32_t keys[kBallots];
#pragma unroll
  for (int i = 0; i < kBallots; ++i) {
    const int32_t row = base + 32 * i + lane;
    keys[i] = row < token.rows ? __ldcg(token.keys + row) : 0;
  }
  uint32_t sure = 0, inside[kBallots];  // `sure`: lane i, of ballot i
  int32_t count = 0;
#pragma unroll
  for (int i = 0; i < kBallots; ++i) {
    const bool real = base + 32 * i + lane < token.rows;
    const uint32_t bin = keys[i] >> kBinShift;
    const uint32_t above = __ballot_sync(0xFFFFFFFFu, real && bin > token.bin);
    inside[i] = __ballot_sync(0xFFFFFFFFu, real && bin == token.bin);
    if (lane == i) sure = above;
    count += __popc(inside[i]);
  }
  if (lane < kBallots && base + 32 * lane < token.rows) token.sure[base / 32 + lane] = sure;
  if (token.candidates == nullptr || count == 0) return;
  int32_t at = 0;
  if (lane == 0) at = atomicAdd(&token.counters[0], count);
  at = __shfl_sync(0xFFFFFFFFu, at, 0);
#pragma unroll
  for (int i = 0; i < kBallots; ++i) {
    if (inside[i] == 0) continue;
    const int32_t place = at + __popc(inside[i] & ((1u << lane) - 1));
    at += __popc(inside[i]);
    if (((inside[i] >> lane) & 1u) != 0 && place < kListed) {
      token.candidates[place] = make_uint2(keys[i], static_cast<uint32_t>(base + 32 * i + lane));
    }
  }
}

// The first candidates of the list, in registers.
struct OwnCandidates {
  uint2 own[kOwnCandidates];
};

// Calls visit(key, row) for every candidate, in no order.
template <typename Visit>
__device__ __forceinline__ void ForCandidates(const TokenRows& token, const OwnCandidates& mine,
                                              int32_t count, Visit visit) {
  const int tid = static_cast<int>(threadIdx.x);
  if (token.candidates != nullptr && count <= kListed) {
#pragma unroll
    for (int i = 0; i < kOwnCandidates; ++i) {
      if (tid + i * kSelectThreads >= count) break;
      visit(mine.own[i].x, static_cast<int32_t>(mine.own[i].y));
    }
    for (int32_t i = tid + kOwnCandidates * kSelectThreads; i < count; i += kSelectThreads) {
      const uint2 candidate = __ldcg(token.candidates + i);
      visit(candidate.x, static_cast<int32_t>(candidate.y));
    }
    return;
  }
#pragma unroll 8
  for (int32_t row = tid; row < token.rows; row += kSelectThreads) {
    const uint32_t key = __ldcg(token.keys + row);
    if (key >> kBinShift == token.bin) visit(key, row);
  }
}

__device__ __forceinline__ void ClearWords(uint32_t* words, int32_t count) {
  __syncthreads();
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kSelectThreads) words[i] = 0;
  __syncthreads();
}

// Sets the bits of the `wanted` best candidates. Returns 0; or, if not all that equal the last one
// are wanted, how many: then those have tie bits.
__device__ __forceinline__ uint32_t RefineCandidates(const TokenRows& token,
                                                     const OwnCandidates& mine, int32_t count,
                                                     uint32_t wanted, uint32_t* bins) {
  ClearWords(bins, kLevelBins);
  ForCandidates(token, mine, count, [&](uint32_t key, int32_t) {
    atomicAdd(&bins[(key >> kLevelBits) % kLevelBins], 1u);
  });
  __syncthreads();
  const Threshold second = FindThreshold<kLevelBins>(bins, true, wanted);
  wanted -= second.above;
  ClearWords(bins, kLevelBins);
  ForCandidates(token, mine, count, [&](uint32_t key, int32_t) {
    if ((key >> kLevelBits) % kLevelBins == second.bin) atomicAdd(&bins[key % kLevelBins], 1u);
  });
  __syncthreads();
  const Threshold third = FindThreshold<kLevelBins>(bins, true, wanted);
  wanted -= third.above;
  const uint32_t exact = token.bin << kBinShift | second.bin << kLevelBits | third.bin;
  const bool all_ties = wanted == third.count;
  if (!all_ties) ClearWords(token.tie, (token.rows + 31) / 32);
  ForCandidates(token, mine, count, [&](uint32_t key, int32_t row) {
    if (key < exact) return;
    atomicOr((key > exact || all_ties ? token.sure : token.tie) + row / 32, 1u << (row % 32));
  });
  __syncthreads();
  return all_ties ? 0 : wanted;
}

// Writes the chosen rows' ordinals, ascending; with the first `ties` of the tie bits.
__device__ __forceinline__ void ListChosen(const TokenRows& token, uint32_t ties, int32_t* list) {
  const int32_t words = (token.rows + 31) / 32;
  const int32_t per = (words + kSelectThreads - 1) / kSelectThreads;
  const int32_t begin = static_cast<int32_t>(threadIdx.x) * per, end = min(begin + per, words);
  uint32_t chosen = 0, total = 0, room = 0;
  for (int32_t w = begin; w < end; ++w) chosen += __popc(token.sure[w]);
  if (ties > 0) {
    uint32_t own = 0;
    for (int32_t w = begin; w < end; ++w) own += __popc(__ldcg(token.tie + w));
    const uint32_t before = ExclusiveScan(own, &total);
    room = ties > before ? min(ties - before, own) : 0;
  }
  int32_t* out = list + ExclusiveScan(chosen + room, &total);
  for (int32_t w = begin; w < end; ++w) {
    uint32_t bits = token.sure[w];
    for (uint32_t tie = room > 0 ? __ldcg(token.tie + w) : 0; tie != 0 && room > 0; --room) {
      bits |= tie & (~tie + 1);
      tie &= tie - 1;
    }
    for (; bits != 0; bits &= bits - 1) *out++ = 32 * w + __ffs(static_cast<int>(bits)) - 1;
  }
}

// Ordinals to flat rows, −1 behind them; without a list, all.
__device__ __forceinline__ void FinishRows(const int32_t* pages, int32_t count, int32_t topk,
                                           const int32_t* list, int32_t* rows) {
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < topk; i += kSelectThreads) {
    rows[i] = i < count ? CompressedRow(pages, list == nullptr ? i : list[i], 4) : -1;
  }
}

// The second part: candidates, list, rows. `wanted` of the candidates are chosen.
template <bool kSplit>
__device__ __forceinline__ void FinishToken(const IndexerTopkArgs& args, TokenRows token, int64_t t,
                                            const int32_t* pages, uint32_t wanted, uint32_t* bins,
                                            uint32_t* bits) {
  const int tid = static_cast<int>(threadIdx.x);
  OwnCandidates mine;
  int32_t count = 0;
  if constexpr (kSplit) {
    count = __ldcg(token.counters);
#pragma unroll
    for (int i = 0; i < kOwnCandidates; ++i) {  // behind `count` stands what nobody looks at
      mine.own[i] = __ldcg(token.candidates + tid + i * kSelectThreads);
    }
#pragma unroll 4
    for (int32_t w = tid; w < (token.rows + 31) / 32; w += kSelectThreads) {
      bits[w] = __ldcg(token.sure + w);
    }
    token.sure = bits;
  }
  const uint32_t ties = RefineCandidates(token, mine, count, wanted, bins);
  const auto topk = static_cast<int32_t>(args.rows.shape[1]);
  int32_t* rows = args.rows.row(t);
  int32_t* list = topk <= kLevelBins ? reinterpret_cast<int32_t*>(bins) : rows;
  ListChosen(token, ties, list);
  __syncthreads();
  FinishRows(pages, topk, topk, list, rows);
}

// Grid (chunks of rows or 1, tokens); dynamic shared memory: a bit a row of the capacity.
template <bool kSplit>
__global__ void __launch_bounds__(kSelectThreads)
    IndexerSelectKernel(IndexerTopkArgs args, IndexerWork work) {
  extern __shared__ uint32_t bits[];
  __shared__ uint32_t bins[kSplit ? kLevelBins : kBins];
  __shared__ bool last;
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t local = blockIdx.y, t = work.first + local;
  const int32_t rows = VisibleRows(args.batch, t), chunk = static_cast<int32_t>(blockIdx.x);
  const auto topk = static_cast<int32_t>(args.rows.shape[1]);
  const int32_t* pages = args.batch.pages.row(args.batch.sequence[t]);
  if (rows <= topk) {
    if (chunk == 0) FinishRows(pages, rows, topk, nullptr, args.rows.row(t));
    return;
  }
  if (chunk * kChunkRows >= rows) return;
  const int64_t words = work.capacity / 32;
  TokenRows token{.keys = work.keys + local * work.capacity,
                  .sure = kSplit ? work.sure + local * words : bits,
                  .tie = work.tie + local * words,
                  .candidates = kSplit ? work.candidates + local * kListed : nullptr,
                  .counters = work.counters + 2 * local,
                  .rows = rows,
                  .bin = 0};
  const int32_t chunks = (rows + kChunkRows - 1) / kChunkRows;
  if constexpr (!kSplit) {
    ClearWords(bins, kBins);
#pragma unroll 8
    for (int32_t row = static_cast<int32_t>(threadIdx.x); row < rows; row += kSelectThreads) {
      atomicAdd(&bins[__ldcg(token.keys + row) >> kBinShift], 1u);
    }
    __syncthreads();
  }
  const Threshold first =
      FindThreshold<kBins>(kSplit ? work.histogram + local * kBins : bins, !kSplit, topk);
  token.bin = first.bin;
  for (int32_t c = chunk; c < chunks; c += static_cast<int32_t>(gridDim.x)) FilterChunk(token, c);
  if constexpr (kSplit) {
    __threadfence();
    __syncthreads();
    const int32_t blocks = min(chunks, static_cast<int32_t>(gridDim.x));
    if (threadIdx.x == 0) last = atomicAdd(&token.counters[1], 1) == blocks - 1;
    __syncthreads();
    if (!last) return;
    __threadfence();
  }
  FinishToken<kSplit>(args, token, t, pages, static_cast<uint32_t>(topk) - first.above, bins, bits);
}

}  // namespace tandem::kernels::cuda
