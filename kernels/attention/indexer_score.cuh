// SPDX-License-Identifier: Apache-2.0
// Scores of the indexer's rows: persistent warps over units of 32 key rows, codes from memory
// through a warp's own ring of shared memory. Units that are not regular are rare and left to a
// second walk, so that the first one's registers hold the query and little else.
//
// What lies before the query kernel's launch is read before the wait for it: that kernel lets this
// one begin only when all of its blocks have waited for what came before.
// Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/indexer_unit.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/ptx/async_copy.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kScoreThreads = 128;
inline constexpr int kScoreWarps = kScoreThreads / 32;
inline constexpr int kScoreBlocksPerSm = 3;
inline constexpr int kStages = 2;  // of a warp's ring; a stage is a unit's codes
inline constexpr int kStageBytes = kUnitCodeBytes;
inline constexpr int kRingBytes = kScoreWarps * kStages * kStageBytes;
// A block counts in 16 bits, so it empties its bins after so many units of a token.
inline constexpr int32_t kUnitsCounted = 65535 / kUnit;
static_assert(kBlockRows == 2 * kUnit && kScoreWarps % 2 == 0 && kStages == 2);

// What a block scores next: units of one token.
struct BlockShare {
  int32_t token, begin, end;
  int32_t next, last;  // units of all tokens
};

// What blocks know of the slice's tokens, in shared memory.
struct SliceTokens {
  BlockShare* share;
  int32_t* prefix;    // [tokens + 1] units of the tokens before
  int32_t* rows;      // [tokens]
  int32_t* sequence;  // [tokens]
};

// What the block needs to know of the slice's tokens; a token whose rows are all chosen has no
// units.
__device__ __forceinline__ void ReadTokens(const IndexerTopkArgs& args, const IndexerWork& work,
                                           const SliceTokens& slice) {
  __shared__ int32_t warp_sums[kScoreWarps];
  const int tid = static_cast<int>(threadIdx.x), lane = tid % 32, warp = tid / 32;
  const auto tokens = static_cast<int32_t>(work.tokens);
  const int32_t per = (tokens + kScoreThreads - 1) / kScoreThreads, begin = tid * per;
  const int32_t end = min(begin + per, tokens);
  int32_t own = 0;
  for (int32_t i = begin; i < end; ++i) {
    const int32_t rows = VisibleRows(args.batch, work.first + i);
    slice.rows[i] = rows;
    slice.sequence[i] = args.batch.sequence[work.first + i];
    own += rows > args.rows.shape[1] ? (rows + kUnit - 1) / kUnit : 0;
  }
  int32_t scan = WarpScan(own);
  if (lane == 31) warp_sums[warp] = scan;
  __syncthreads();
  scan -= own;
  for (int w = 0; w < warp; ++w) scan += warp_sums[w];
  for (int32_t i = begin; i < end; ++i) {
    slice.prefix[i] = scan;
    const int32_t rows = slice.rows[i];
    scan += rows > args.rows.shape[1] ? (rows + kUnit - 1) / kUnit : 0;
    if (i == tokens - 1) slice.prefix[tokens] = scan;
  }
  __syncthreads();
}

// One token as a warp walks over it: units first, first + kScoreWarps … below end. All of them are
// the same half of their pages.
struct WarpUnits {
  const uint8_t* base;  // of this half of page 0
  const int32_t* pages;
  uint32_t* keys;  // of the token
  int32_t rows, first, end;
  int32_t scales;  // bytes from a half page's codes to its scale of row `lane`
};

__device__ __forceinline__ const uint8_t* CodesOf(const WarpUnits& units, int32_t page) {
  return units.base + int64_t{kIndexPageBytes} * page;
}

// The scales of row `lane` of a unit with so many rows. What stands behind the last one must not
// make the unit irregular.
__device__ __forceinline__ uint32_t RealScales(uint32_t scales, int32_t rows, int lane) {
  return lane < rows ? scales : 0x7F7F7F7Fu;
}

__device__ __forceinline__ WarpUnits UnitsOfWarp(const IndexerTopkArgs& args,
                                                 const IndexerWork& work,
                                                 const SliceTokens& slice) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int32_t local = slice.share->token, first = slice.share->begin + warp, half = first % 2;
  return {.base = args.keys.base + kUnitCodeBytes * half,
          .pages = args.batch.pages.row(slice.sequence[local]),
          .keys = work.keys + local * work.capacity,
          .rows = slice.rows[local],
          .first = first,
          .end = slice.share->end,
          .scales = kUnitCodeBytes * (2 - half) + kIndexRowScales * (kUnit * half + lane)};
}

// Starts the copy of a unit's codes to a stage; `codes`, `stage`: of this lane.
__device__ __forceinline__ void FetchUnit(const uint8_t* codes, uint32_t stage) {
#pragma unroll
  for (int i = 0; i < kUnitTiles; ++i) {
    ptx::CopyAsync16(stage + kTileBytes * i, codes + kTileBytes * i);
  }
}

template <bool kHistogram>
__device__ __forceinline__ void EmitKey(uint32_t key, uint32_t* to, uint32_t* bins) {
  *to = key;
  if constexpr (kHistogram) {
    const uint32_t bin = key >> kBinShift;
    atomicAdd(&bins[bin / 2], bin % 2 == 0 ? 1u : 0x10000u);
  }
}

// The regular units. Returns whether there are others.
template <class Product, int kTiles, bool kHistogram>
__device__ __forceinline__ bool ScoreUnits(const IndexerTopkArgs& args, const IndexerWork& work,
                                           int64_t local, const WarpUnits& units, uint8_t* ring,
                                           uint32_t* bins) {
  constexpr int32_t kStep = kScoreWarps * kUnit;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  // Places in the tables in 32 bits: a slice has less than 2^31 of either.
  const int32_t* pages = args.batch.pages.data;
  auto place = static_cast<int32_t>(units.pages - pages) + units.first / 2;
  const uint8_t* base = units.base + 16 * lane;
  const int32_t to_scales = units.scales - 16 * lane;
  const uint32_t stage = ptx::SharedAddress(ring) + Product::StagePlace(lane);
  const uint8_t* codes = base + int64_t{kIndexPageBytes} * pages[place];
  FetchUnit(codes, stage);
  ptx::CopyAsyncCommit();
  uint32_t scales = *reinterpret_cast<const uint32_t*>(codes + to_scales);
  // Rows from the unit's first on; those of the units from `end` on.
  int32_t rows = units.rows - units.first * kUnit;
  const int32_t behind = units.rows - units.end * kUnit;
  int32_t page = rows - kStep > behind ? pages[place + kScoreWarps / 2] : 0;
  ptx::GridDependencyWait();
  if (work.irregular[local] != 0) {
    ptx::CopyAsyncWait<0>();  // the next share copies to the same place
    return true;
  }
  IndexerQuery<Product, kTiles> query;
  LoadQuery<Product, kTiles>(work, local, lane, &query);
  auto key = static_cast<int32_t>(units.keys - work.keys) + units.first * kUnit + lane;
  bool others = false;
  uint32_t turn = 0;
#pragma unroll 1
  for (; rows > behind; rows -= kStep) {
    const RowScales split = SplitScales(RealScales(scales, rows, lane));
    if (rows - kStep > behind) {
      const uint8_t* next = base + int64_t{kIndexPageBytes} * page;
      FetchUnit(next, stage + (turn ^ kStageBytes));
      scales = *reinterpret_cast<const uint32_t*>(next + to_scales);
    }
    ptx::CopyAsyncCommit();
    place += kScoreWarps / 2;
    if (rows - 2 * kStep > behind) page = pages[place + kScoreWarps / 2];
    ptx::CopyAsyncWait<1>();
    __syncwarp();
    if (__all_sync(0xFFFFFFFFu, split.regular)) {
      const auto keys = [&](int tile) { return Product::LoadStage(ring + turn, tile, lane); };
      const uint32_t ordered = OrderedKey(ScoreUnit<Product, kTiles>(query, keys, split, lane));
      if (lane < rows) EmitKey<kHistogram>(ordered, work.keys + key, bins);
    } else {
      others = true;
    }
    __syncwarp();  // the stage is filled again
    turn ^= kStageBytes;
    key += kStep;
  }
  ptx::CopyAsyncWait<0>();
  return others;
}

// The irregular units, or all of them.
template <class Product, bool kHistogram>
__device__ __forceinline__ void ScoreOthers(const IndexerWork& work, int64_t local, bool all,
                                            const WarpUnits& units, uint32_t* bins) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1
  for (int32_t index = units.first; index < units.end; index += kScoreWarps) {
    const int32_t rows = units.rows - index * kUnit;
    const uint8_t* codes = CodesOf(units, units.pages[index / 2]);
    const uint32_t word = *reinterpret_cast<const uint32_t*>(codes + units.scales);
    const uint32_t scales = RealScales(word, rows, lane);
    if (!all && __all_sync(0xFFFFFFFFu, SplitScales(scales).regular)) continue;
    const float score = ScoreAnyUnit<Product>(work, local, codes, scales, lane);
    if (lane < rows) {
      EmitKey<kHistogram>(OrderedKey(score), units.keys + index * kUnit + lane, bins);
    }
  }
}

// Scores the block's share of a token, a warp every kScoreWarps-th unit.
template <class Product, int kTiles, bool kHistogram>
__device__ __forceinline__ void ScoreShare(const IndexerTopkArgs& args, const IndexerWork& work,
                                           const SliceTokens& slice, uint8_t* ring,
                                           uint32_t* bins) {
  if (slice.share->begin + static_cast<int>(threadIdx.x) / 32 >= slice.share->end) return;
  if (!ScoreUnits<Product, kTiles, kHistogram>(args, work, slice.share->token,
                                               UnitsOfWarp(args, work, slice), ring, bins)) {
    return;
  }
  // Read again, so that nothing of it lives through the first walk.
  const int64_t again = slice.share->token;
  ScoreOthers<Product, kHistogram>(work, again, work.irregular[again] != 0,
                                   UnitsOfWarp(args, work, slice), bins);
}

// Adds the block's counts to the token's, and clears them.
__device__ __forceinline__ void FlushBins(uint32_t* bins, uint32_t* total) {
  for (int i = static_cast<int>(threadIdx.x); i < kBins / 2; i += kScoreThreads) {
    const uint32_t pair = bins[i];
    if (pair == 0) continue;
    if ((pair & 0xFFFFu) != 0) atomicAdd(&total[2 * i], pair & 0xFFFFu);
    if (pair >> 16 != 0) atomicAdd(&total[2 * i + 1], pair >> 16);
    bins[i] = 0;
  }
}

// Shared memory: rings, bins if wanted, tokens.
inline int64_t ScoreSharedBytes(int64_t tokens, bool histogram) {
  return kRingBytes + (histogram ? 2 * kBins : 0) + 4 * (3 * tokens + 1);
}

// Moves on to the next token; by one thread.
template <bool kHistogram>
__device__ __forceinline__ void NextShare(int32_t tokens, const SliceTokens& slice) {
  const int32_t begin = slice.share->next;
  int32_t low = 0, high = tokens;  // prefix[low] <= begin < prefix[high]
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    (slice.prefix[middle] <= begin ? low : high) = middle;
  }
  int32_t end = min(slice.share->last, slice.prefix[low + 1]);
  if (kHistogram) end = min(end, begin + kUnitsCounted);
  const int32_t first = slice.prefix[low];
  *slice.share = {low, begin - first, end - first, end, slice.share->last};
}

// A block takes an equal share of all units of the slice's tokens.
template <class Product, int kTiles, bool kHistogram>
__global__ void __launch_bounds__(kScoreThreads, kScoreBlocksPerSm)
    IndexerScoreKernel(IndexerTopkArgs args, IndexerWork work) {
  extern __shared__ uint4 shared[];
  __shared__ BlockShare share;
  auto* ring = reinterpret_cast<uint8_t*>(shared);
  auto* bins = reinterpret_cast<uint32_t*>(ring + kRingBytes);
  auto* prefix = reinterpret_cast<int32_t*>(bins + (kHistogram ? kBins / 2 : 0));
  const SliceTokens slice{&share, prefix, prefix + work.tokens + 1, prefix + 2 * work.tokens + 1};
  ring += threadIdx.x / 32 * (kStages * kStageBytes);
  ptx::GridDependencyLaunch();
  if constexpr (kHistogram) {
    for (int i = static_cast<int>(threadIdx.x); i < kBins / 2; i += kScoreThreads) bins[i] = 0;
  }
  ReadTokens(args, work, slice);
  if (threadIdx.x == 0) {
    const int64_t units = prefix[work.tokens];
    share.next = static_cast<int32_t>(units * blockIdx.x / gridDim.x);
    share.last = static_cast<int32_t>(units * (blockIdx.x + 1) / gridDim.x);
  }
  __syncthreads();
  while (share.next < share.last) {
    __syncthreads();
    if (threadIdx.x == 0) NextShare<kHistogram>(static_cast<int32_t>(work.tokens), slice);
    __syncthreads();
    ScoreShare<Product, kTiles, kHistogram>(args, work, slice, ring, bins);
    __syncthreads();
    ptx::GridDependencyWait();  // also the warps that had no unit
    if constexpr (kHistogram) FlushBins(bins, work.histogram + int64_t{share.token} * kBins);
  }
  ptx::GridDependencyWait();
}

}  // namespace tandem::kernels::cuda
