// SPDX-License-Identifier: Apache-2.0
// Scores of the indexer's rows: persistent warps over units of 32 key rows, codes straight from
// memory into the byte matrix product.
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
#include "kernels/ptx/load.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kScoreThreads = 128;
inline constexpr int kScoreWarps = kScoreThreads / 32;
inline constexpr int kScoreBlocksPerSm = 3;

// A query's operands in a warp's registers.
template <int kTiles>
struct IndexerQuery {
  uint32_t a[kTiles][4][4];
  float weight[kTiles][2], offset[kTiles][2];
  bool irregular;
};

// One unit's key rows: of row 8i + g, group c, codes[i]; of row `lane`, the scales.
struct IndexerUnit {
  uint4 codes[4];
  uint32_t scales;
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
  query->irregular = work.irregular[local] != 0;
}

// The lane, asked anew: what follows from it need not be kept in registers between.
__device__ __forceinline__ int LaneAgain() {
  int lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}

// This lane's part of a unit, which is one half of `page`; page −1 loads nothing.
__device__ __forceinline__ void LoadCodes(const IndexerTopkArgs& args, int32_t page, int half,
                                          int lane, int i, IndexerUnit* unit) {
  if (page < 0) return;
  unit->codes[i] = ptx::LoadStream(args.keys.base + int64_t{kIndexPageBytes} * page +
                                   kIndexRowBytes * (kUnit * half + 8 * i) + 16 * lane);
}
__device__ __forceinline__ void LoadScales(const IndexerTopkArgs& args, int32_t page, int half,
                                           IndexerUnit* unit) {
  if (page < 0) return;
  const uint8_t* scales =
      args.keys.base + int64_t{kIndexPageBytes} * page + kIndexRowBytes * kBlockRows;
  unit->scales = __ldg(reinterpret_cast<const uint32_t*>(scales) + kUnit * half + LaneAgain());
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

// The row of a unit whose sum ReduceUnit leaves in a lane.
__device__ __forceinline__ int RowOfLane(int lane) {
  return 8 * (lane >> 3) + 2 * (lane & 3) + ((lane >> 2) & 1);
}

// Sums over the eight lanes of a column; halving what is exchanged, a lane ends with one row.
__device__ __forceinline__ float ReduceUnit(const float (&sums)[4][2], int lane) {
  float two[2][2], one[2];
  const bool far = (lane & 16) != 0, middle = (lane & 8) != 0, near = (lane & 4) != 0;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      const float kept = far ? sums[i + 2][b] : sums[i][b];
      two[i][b] = kept + __shfl_xor_sync(0xFFFFFFFFu, far ? sums[i][b] : sums[i + 2][b], 16);
    }
  }
#pragma unroll
  for (int b = 0; b < 2; ++b) {
    const float kept = middle ? two[1][b] : two[0][b];
    one[b] = kept + __shfl_xor_sync(0xFFFFFFFFu, middle ? two[0][b] : two[1][b], 8);
  }
  return (near ? one[1] : one[0]) + __shfl_xor_sync(0xFFFFFFFFu, near ? one[0] : one[1], 4);
}

// Scores of a unit's rows, row RowOfLane(lane) in a lane. Its registers are filled with the next
// unit as they fall free. What stands behind the last row must not make a unit irregular: `real`.
template <int kTiles>
__device__ __forceinline__ float ScoreUnit(const IndexerTopkArgs& args, const IndexerWork& work,
                                           int64_t local, const IndexerQuery<kTiles>& query,
                                           bool real, int32_t next, int half, IndexerUnit* unit) {
  const int lane = LaneAgain();
  const uint32_t scales = real ? unit->scales : 0x7F7F7F7Fu;
  LoadScales(args, next, half, unit);
  const RowScales split = SplitScales(scales);
  float sums[4][2];
  if (__all_sync(0xFFFFFFFFu, split.regular && !query.irregular)) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t distance = __shfl_sync(0xFFFFFFFFu, split.distance, 8 * i + lane / 4);
      ScoreRegular(query, unit->codes[i], (distance >> (8 * (lane % 4))) & 255u, sums[i]);
      LoadCodes(args, next, half, lane, i, unit);
    }
    const float score = ReduceUnit(sums, LaneAgain());
    return score * ScaleFloat(__shfl_sync(0xFFFFFFFFu, split.least, RowOfLane(LaneAgain())));
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    ScoreIrregular(work, local, unit->codes[i], scales, i, sums[i]);
    LoadCodes(args, next, half, lane, i, unit);
  }
  return ReduceUnit(sums, lane);
}

// Integers in the order of the floats; NaN as −∞, both zeros alike.
__device__ __forceinline__ uint32_t OrderedKey(float score) {
  const float s = score == score ? score + 0.0f : __uint_as_float(0xFF800000u);
  const uint32_t u = __float_as_uint(s);
  return u ^ ((u >> 31) != 0 ? 0xFFFFFFFFu : 0x80000000u);
}

// Units of a token: none where every row is chosen.
__device__ __forceinline__ int32_t UnitsOf(const IndexerTopkArgs& args, int64_t t) {
  const int32_t rows = VisibleRows(args.batch, t);
  return rows > args.rows.shape[1] ? (rows + kUnit - 1) / kUnit : 0;
}

// prefix[i] = units of the slice's tokens before i, i = 0 .. tokens.
__device__ __forceinline__ void PrefixUnits(const IndexerTopkArgs& args, const IndexerWork& work,
                                            int32_t* prefix) {
  __shared__ int32_t warp_sums[kScoreWarps];
  const int tid = static_cast<int>(threadIdx.x), lane = tid % 32, warp = tid / 32;
  const auto tokens = static_cast<int32_t>(work.tokens);
  const int32_t per = (tokens + kScoreThreads - 1) / kScoreThreads, begin = tid * per;
  const int32_t end = min(begin + per, tokens);
  int32_t own = 0;
  for (int32_t i = begin; i < end; ++i) own += UnitsOf(args, work.first + i);
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
    prefix[i] = scan;
    scan += UnitsOf(args, work.first + i);
    if (i == tokens - 1) prefix[tokens] = scan;
  }
  __syncthreads();
}

// Scores units begin .. end−1 of one token, a warp every kScoreWarps-th.
template <int kTiles>
__device__ __forceinline__ void ScoreToken(const IndexerTopkArgs& args, const IndexerWork& work,
                                           int64_t local, int32_t begin, int32_t end,
                                           uint32_t* bins) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t t = work.first + local;
  const int32_t rows = VisibleRows(args.batch, t);
  const int32_t* pages = args.batch.pages.row(args.batch.sequence[t]);
  int32_t index = begin + warp;  // of the unit
  if (index >= end) return;
  static_assert(kScoreWarps % 2 == 0);
  const int half = index % 2;  // of a page: the same for all units of the warp
  IndexerUnit unit;
  const int32_t first = pages[index / 2];
  LoadScales(args, first, half, &unit);
#pragma unroll
  for (int i = 0; i < 4; ++i) LoadCodes(args, first, half, lane, i, &unit);
  int32_t next = index + kScoreWarps < end ? pages[(index + kScoreWarps) / 2] : -1;
  IndexerQuery<kTiles> query;
  LoadQuery<kTiles>(work, local, lane, &query);
  uint32_t* keys = work.keys + local * work.capacity;
  for (; index < end; index += kScoreWarps) {
    const int32_t ahead = index + 2 * kScoreWarps;
    const int32_t after = ahead < end ? pages[ahead / 2] : -1;
    const bool real = index * kUnit + LaneAgain() < rows;
    const uint32_t key =
        OrderedKey(ScoreUnit<kTiles>(args, work, local, query, real, next, half, &unit));
    next = after;
    const int32_t row = index * kUnit + RowOfLane(LaneAgain());
    if (row >= rows) continue;
    keys[row] = key;
    if (bins != nullptr) atomicAdd(&bins[key >> kBinShift], 1u);
  }
}

// Adds the block's counts to the token's, and clears them.
__device__ __forceinline__ void FlushBins(uint32_t* bins, uint32_t* total) {
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kScoreThreads) {
    if (bins[i] == 0) continue;
    atomicAdd(&total[i], bins[i]);
    bins[i] = 0;
  }
  __syncthreads();
}

// A block takes an equal share of all units of the slice's tokens.
template <int kTiles, bool kHistogram>
__global__ void __launch_bounds__(kScoreThreads, kScoreBlocksPerSm)
    IndexerScoreKernel(IndexerTopkArgs args, IndexerWork work) {
  extern __shared__ int32_t prefix[];  // [tokens + 1]
  __shared__ uint32_t bins[kHistogram ? kBins : 1];
  ptx::GridDependencyLaunch();
  if constexpr (kHistogram) {
    for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kScoreThreads) bins[i] = 0;
  }
  ptx::GridDependencyWait();
  PrefixUnits(args, work, prefix);
  const int64_t units = prefix[work.tokens];
  auto begin = static_cast<int32_t>(units * blockIdx.x / gridDim.x);
  const auto last = static_cast<int32_t>(units * (blockIdx.x + 1) / gridDim.x);
  while (begin < last) {
    int32_t low = 0, high = static_cast<int32_t>(work.tokens);  // prefix[low] <= begin < [high]
    while (high - low > 1) {
      const int32_t middle = (low + high) / 2;
      (prefix[middle] <= begin ? low : high) = middle;
    }
    const int32_t first = prefix[low], end = min(last, prefix[low + 1]);
    ScoreToken<kTiles>(args, work, low, begin - first, end - first, kHistogram ? bins : nullptr);
    if constexpr (kHistogram) FlushBins(bins, work.histogram + int64_t{low} * kBins);
    begin = end;
  }
}

}  // namespace tandem::kernels::cuda
