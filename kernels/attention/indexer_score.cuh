// SPDX-License-Identifier: Apache-2.0
// Scores of the indexer's rows: persistent warps over units of 32 key rows, codes from memory
// through a warp's own ring of shared memory into the byte matrix product.
//
// A lane's 16 bytes of a key row are one scale group, and its scale shifts the table that turns
// codes into bytes, so a unit costs no multiplication by scales; the same of the query was made
// before (indexer_query.cuh). Sums start at a constant that makes their bits a float, one
// saturating FMA is conversion, bias and ReLU, another adds the head. Units with an irregular row
// take the product group by group. Order of the sums over heads: 8 of a lane, then over lanes.
// Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/indexer_query.cuh"
#include "kernels/ptx/async_copy.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kScoreThreads = 128;
inline constexpr int kScoreWarps = kScoreThreads / 32;
inline constexpr int kScoreBlocksPerSm = 3;
inline constexpr int kStages = 2;  // of a warp's ring; a stage is a unit
inline constexpr int kUnitTiles = kUnit / 8;
inline constexpr int kTileBytes = 8 * kIndexRowBytes;
inline constexpr int kUnitCodeBytes = kUnitTiles * kTileBytes;
inline constexpr int kStageBytes = kUnitCodeBytes + kUnit * kIndexRowScales;
inline constexpr int kRingBytes = kScoreWarps * kStages * kStageBytes;
// A block counts in 16 bits, so it empties its bins after so many units of a token.
inline constexpr int32_t kUnitsCounted = 65535 / kUnit;
static_assert(kStageBytes % 16 == 0 && kBlockRows == 2 * kUnit && kScoreWarps % 2 == 0);

// A query's operands in a warp's registers.
template <int kTiles>
struct IndexerQuery {
  uint32_t a[kTiles][4][4];
  float weight[kTiles][2], offset[kTiles][2];
};

// What blocks know of the slice's tokens, in shared memory.
struct SliceTokens {
  int32_t* prefix;    // [tokens + 1] units of the tokens before
  int32_t* rows;      // [tokens]
  int32_t* sequence;  // [tokens]
};

template <int kTiles>
__device__ __forceinline__ void LoadQuery(const IndexerWork& work, int64_t local, int lane,
                                          IndexerQuery<kTiles>* query) {
  const uint4* fragments = work.fragments + local * kTiles * 128;
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      const uint4 v = fragments[(m * 4 + step) * 32 + lane];
      query->a[m][step][0] = v.x;
      query->a[m][step][1] = v.y;
      query->a[m][step][2] = v.z;
      query->a[m][step][3] = v.w;
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int64_t head = local * work.heads + 16 * m + 8 * r + lane / 4;
      query->weight[m][r] = work.weight[head];
      query->offset[m][r] = work.offset[head];
    }
  }
}

// Starts the copy of one half of a page to a stage.
__device__ __forceinline__ void FetchUnit(const uint8_t* base, int32_t page, int half, int lane,
                                          uint8_t* stage) {
  const uint8_t* from = base + int64_t{kIndexPageBytes} * page;
  const uint8_t* codes = from + kUnitCodeBytes * half + 16 * lane;
#pragma unroll
  for (int i = 0; i < kUnitTiles; ++i) {
    ptx::CopyAsync16(stage + kTileBytes * i + 16 * lane, codes + kTileBytes * i);
  }
  constexpr int kScaleBytes = kUnit * kIndexRowScales;
  if (lane < kScaleBytes / 16) {
    ptx::CopyAsync16(stage + kUnitCodeBytes + 16 * lane,
                     from + kIndexRowBytes * kBlockRows + kScaleBytes * half + 16 * lane);
  }
}

__device__ __forceinline__ float SaturatingFma(float a, float b, float c) {
  float d;
  asm("fma.rn.sat.f32 %0, %1, %2, %3;" : "=f"(d) : "f"(a), "f"(b), "f"(c));
  return d;
}

// Sums over this lane's heads for columns 2c, 2c+1 of eight regular keys.
template <int kTiles>
__device__ __forceinline__ void ScoreRegular(const IndexerQuery<kTiles>& query, const uint4& codes,
                                             uint32_t shift, float (&sum)[2]) {
  const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
  const uint32_t magic[4] = {kMagic, kMagic, kMagic, kMagic};
  const CodeTable table = ShiftedCodes(shift);
  uint32_t acc[kTiles][4];
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    const uint32_t word = words[step], flipped = word ^ 0x88888888u;
    const uint32_t b0 = BiasedBytes(word, flipped, table);
    const uint32_t b1 = BiasedBytes(word >> 16, flipped >> 16, table);
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      if (step == 0) {
        ptx::MmaS8U8(acc[m], query.a[m][step], b0, b1, magic);
      } else {
        ptx::MmaS8U8(acc[m], query.a[m][step], b0, b1, acc[m]);
      }
    }
  }
  sum[0] = sum[1] = 0;
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float y = SaturatingFma(__uint_as_float(acc[m][i]), kShrink, query.offset[m][i / 2]);
      sum[i % 2] = __fmaf_rn(query.weight[m][i / 2], y, sum[i % 2]);
    }
  }
}

// The same for any keys: unshifted, a group at a time, every scale applied to its own sum. Rare, so
// the query comes from memory.
__device__ __forceinline__ void ScoreIrregular(const IndexerWork& work, int64_t local,
                                               const uint4& codes, uint32_t scales, int tile,
                                               float (&sum)[2]) {
  const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
  const int lane = static_cast<int>(threadIdx.x) % 32, group_of_lane = lane % 4;
  const uint32_t left = __shfl_sync(0xFFFFFFFFu, scales, 8 * tile + 2 * group_of_lane);
  const uint32_t right = __shfl_sync(0xFFFFFFFFu, scales, 8 * tile + 2 * group_of_lane + 1);
  const CodeTable table = ShiftedCodes(0);
  const int tiles = static_cast<int>(work.heads / 16);
  sum[0] = sum[1] = 0;
#pragma unroll 1
  for (int m = 0; m < tiles; ++m) {
    const int64_t head = local * work.heads + 16 * m + lane / 4;
    float dot[4] = {};
#pragma unroll 1
    for (int group = 0; group < 4; ++group) {
      const uint32_t mask = group == group_of_lane ? 0xFFFFFFFFu : 0;
      uint32_t acc[4] = {};
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        const uint4 v = work.fragments[((local * tiles + m) * 4 + step) * 32 + lane];
        const uint32_t a[4] = {v.x, v.y, v.z, v.w};
        const uint32_t b0 = SignedBytes(words[step], table) & mask;
        ptx::MmaS8S8(acc, a, b0, SignedBytes(words[step] >> 16, table) & mask, acc);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float n = static_cast<float>(static_cast<int32_t>(acc[i]));
        dot[i] += n * work.group_scale[4 * (head + 8 * (i / 2)) + group] *
                  ScaleFloat(((i % 2 == 0 ? left : right) >> (8 * group)) & 255u);
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float y = dot[i] <= 0 ? 0.0f : dot[i] * kShrink;  // NaN stays
      sum[i % 2] = __fmaf_rn(work.weight[head + 8 * (i / 2)], y, sum[i % 2]);
    }
  }
}

// The row of a unit whose sum a lane ends with.
__device__ __forceinline__ int RowOfLane(int lane) {
  return 8 * ((lane >> 2) & 3) + 2 * (lane & 3) + (lane >> 4);
}

// Sums of a tile over the eight lanes of its columns: row 2c + lane/16 of it.
__device__ __forceinline__ float ReduceTile(const float (&sum)[2], int lane) {
  const bool odd = lane >= 16;
  float all = (odd ? sum[1] : sum[0]) + __shfl_xor_sync(0xFFFFFFFFu, odd ? sum[0] : sum[1], 16);
  all += __shfl_xor_sync(0xFFFFFFFFu, all, 8);
  return all + __shfl_xor_sync(0xFFFFFFFFu, all, 4);
}

// Scores of a stage's rows, row RowOfLane(lane) in a lane; rows from `rows` on are not keys.
template <int kTiles>
__device__ __forceinline__ float ScoreUnit(const IndexerWork& work, int64_t local,
                                           const IndexerQuery<kTiles>& query, bool regular_query,
                                           const uint8_t* stage, int32_t rows, int lane) {
  // What stands behind the last row must not make the unit irregular.
  const uint32_t loaded = reinterpret_cast<const uint32_t*>(stage + kUnitCodeBytes)[lane];
  const uint32_t scales = lane < rows ? loaded : 0x7F7F7F7Fu;
  const RowScales split = SplitScales(scales);
  const auto* codes = reinterpret_cast<const uint4*>(stage) + lane;
  float sum[2] = {}, score = 0;
  const int own_tile = (lane >> 2) & 3;
  if (__all_sync(0xFFFFFFFFu, split.regular && regular_query)) {
    // A tile's sum over lanes is taken beside the next tile's product.
#pragma unroll 1
    for (int tile = 0; tile < kUnitTiles; ++tile) {
      const uint32_t distance = __shfl_sync(0xFFFFFFFFu, split.distance, 8 * tile + lane / 4);
      const float before = ReduceTile(sum, lane);
      score = own_tile == tile - 1 ? before : score;
      ScoreRegular(query, codes[32 * tile], (distance >> (8 * (lane % 4))) & 255u, sum);
    }
    const float before = ReduceTile(sum, lane);
    score = own_tile == kUnitTiles - 1 ? before : score;
    return score * ScaleFloat(__shfl_sync(0xFFFFFFFFu, split.least, RowOfLane(lane)));
  }
#pragma unroll 1
  for (int tile = 0; tile < kUnitTiles; ++tile) {
    ScoreIrregular(work, local, codes[32 * tile], scales, tile, sum);
    const float all = ReduceTile(sum, lane);
    score = own_tile == tile ? all : score;
  }
  return score;
}

// Integers in the order of the floats; NaN as −∞, both zeros alike.
__device__ __forceinline__ uint32_t OrderedKey(float score) {
  const float s = score == score ? score + 0.0f : __uint_as_float(0xFF800000u);
  const uint32_t u = __float_as_uint(s);
  return u ^ ((u >> 31) != 0 ? 0xFFFFFFFFu : 0x80000000u);
}

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
  int32_t scan = own;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const int32_t below = __shfl_up_sync(0xFFFFFFFFu, scan, offset);
    if (lane >= offset) scan += below;
  }
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

// Scores units begin .. end−1 of one token, a warp every kScoreWarps-th.
template <int kTiles>
__device__ __forceinline__ void ScoreToken(const IndexerTopkArgs& args, const IndexerWork& work,
                                           const SliceTokens& slice, int32_t local, int32_t begin,
                                           int32_t end, uint8_t* ring, uint32_t* bins) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int32_t index = begin + warp;  // of the unit
  if (index >= end) return;
  const int32_t* pages = args.batch.pages.row(slice.sequence[local]);
  const int32_t rows = slice.rows[local];
  const int half = index % 2;  // of a page: the same for all units of the warp
  FetchUnit(args.keys.base, pages[index / 2], half, lane, ring);
  ptx::CopyAsyncCommit();
  int32_t page = index + kScoreWarps < end ? pages[(index + kScoreWarps) / 2] : 0;
  IndexerQuery<kTiles> query;
  LoadQuery<kTiles>(work, local, lane, &query);
  const bool regular = work.irregular[local] == 0;
  uint32_t* keys = work.keys + local * work.capacity;
  int stage = 0;
  for (; index < end; index += kScoreWarps) {
    if (index + kScoreWarps < end) {
      FetchUnit(args.keys.base, page, half, lane, ring + kStageBytes * (stage ^ 1));
    }
    ptx::CopyAsyncCommit();
    const int32_t ahead = index + 2 * kScoreWarps;
    if (ahead < end) page = pages[ahead / 2];
    ptx::CopyAsyncWait<1>();
    __syncwarp();
    const uint32_t key = OrderedKey(ScoreUnit<kTiles>(
        work, local, query, regular, ring + kStageBytes * stage, rows - index * kUnit, lane));
    __syncwarp();  // the stage is filled again
    stage ^= 1;
    const int32_t row = index * kUnit + RowOfLane(lane);
    if (row >= rows) continue;
    keys[row] = key;
    const uint32_t bin = key >> kBinShift;
    if (bins != nullptr) atomicAdd(&bins[bin / 2], bin % 2 == 0 ? 1u : 0x10000u);
  }
  ptx::CopyAsyncWait<0>();
}

// Adds the block's counts to the token's, and clears them.
__device__ __forceinline__ void FlushBins(uint32_t* bins, uint32_t* total) {
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kBins / 2; i += kScoreThreads) {
    const uint32_t pair = bins[i];
    if (pair == 0) continue;
    if ((pair & 0xFFFFu) != 0) atomicAdd(&total[2 * i], pair & 0xFFFFu);
    if (pair >> 16 != 0) atomicAdd(&total[2 * i + 1], pair >> 16);
    bins[i] = 0;
  }
  __syncthreads();
}

// Shared memory: rings, bins if wanted, tokens.
inline int64_t ScoreSharedBytes(int64_t tokens, bool histogram) {
  return kRingBytes + (histogram ? 2 * kBins : 0) + 4 * (3 * tokens + 1);
}

// A block takes an equal share of all units of the slice's tokens.
template <int kTiles, bool kHistogram>
__global__ void __launch_bounds__(kScoreThreads, kScoreBlocksPerSm)
    IndexerScoreKernel(IndexerTopkArgs args, IndexerWork work) {
  extern __shared__ uint4 shared[];
  auto* ring = reinterpret_cast<uint8_t*>(shared);
  auto* bins = reinterpret_cast<uint32_t*>(ring + kRingBytes);
  auto* prefix = reinterpret_cast<int32_t*>(bins + (kHistogram ? kBins / 2 : 0));
  const SliceTokens slice{prefix, prefix + work.tokens + 1, prefix + 2 * work.tokens + 1};
  ring += threadIdx.x / 32 * (kStages * kStageBytes);
  ptx::GridDependencyLaunch();
  if constexpr (kHistogram) {
    for (int i = static_cast<int>(threadIdx.x); i < kBins / 2; i += kScoreThreads) bins[i] = 0;
  }
  ptx::GridDependencyWait();
  ReadTokens(args, work, slice);
  const int64_t units = prefix[work.tokens];
  auto begin = static_cast<int32_t>(units * blockIdx.x / gridDim.x);
  const auto last = static_cast<int32_t>(units * (blockIdx.x + 1) / gridDim.x);
  while (begin < last) {
    int32_t low = 0, high = static_cast<int32_t>(work.tokens);  // prefix[low] <= begin < [high]
    while (high - low > 1) {
      const int32_t middle = (low + high) / 2;
      (prefix[middle] <= begin ? low : high) = middle;
    }
    const int32_t first = prefix[low];
    int32_t end = min(last, prefix[low + 1]);
    if (kHistogram) end = min(end, begin + kUnitsCounted);
    ScoreToken<kTiles>(args, work, slice, low, begin - first, end - first, ring,
                       kHistogram ? bins : nullptr);
    if constexpr (kHistogram) FlushBins(bins, work.histogram + int64_t{low} * kBins);
    begin = end;
  }
}

}  // namespace tandem::kernels::cuda
