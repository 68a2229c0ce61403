// SPDX-License-Identifier: Apache-2.0
// Scores of one unit, 32 key rows, by one warp: codes through the byte matrix product, heads as
// its rows and keys as its columns.
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

namespace tandem::kernels::cuda {

inline constexpr int kUnitTiles = kUnit / 8;
inline constexpr int kTileBytes = 8 * kIndexRowBytes;
inline constexpr int kUnitCodeBytes = kUnitTiles * kTileBytes;

// A query's operands in a warp's registers.
template <int kTiles>
struct IndexerQuery {
  uint32_t a[kTiles][4][4];
  float weight[kTiles][2], offset[kTiles][2];
  uint32_t magic[4];  // kMagic, where the product's sums start
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
  // A shuffle, so that the compiler keeps the four and does not make them anew for every product.
#pragma unroll
  for (int i = 0; i < 4; ++i) query->magic[i] = __shfl_sync(0xFFFFFFFFu, kMagic, lane);
}

// Row r of eight is column ColumnOfRow(r) of their product: so the sums of row r of a unit end in
// lane r.
__device__ __forceinline__ int ColumnOfRow(int row) {
  return 2 * (row & 3) + (row >> 2);
}
__device__ __forceinline__ int RowOfColumn(int column) {
  return 4 * (column & 1) + (column >> 1);
}

__device__ __forceinline__ float SaturatingFma(float a, float b, float c) {
  float d;
  asm("fma.rn.sat.f32 %0, %1, %2, %3;" : "=f"(d) : "f"(a), "f"(b), "f"(c));
  return d;
}

// Sums over this lane's heads for columns 2c, 2c+1 of eight regular keys; lane 4·g + c has the
// codes of column g, group c.
template <int kTiles>
__device__ __forceinline__ void ScoreRegular(const IndexerQuery<kTiles>& query, const uint4& codes,
                                             uint32_t shift, float* sum) {
  const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
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
        ptx::MmaS8U8(acc[m], query.a[m][step], b0, b1, query.magic);
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
// the query comes from memory. `scales` are those of row `lane` of the unit.
__device__ __forceinline__ void ScoreIrregular(const IndexerWork& work, int64_t local,
                                               const uint4& codes, uint32_t scales, int tile,
                                               float* sum) {
  const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
  const int lane = static_cast<int>(threadIdx.x) % 32, group_of_lane = lane % 4;
  const int left_row = 8 * tile + RowOfColumn(2 * group_of_lane);
  const int right_row = 8 * tile + RowOfColumn(2 * group_of_lane + 1);
  const uint32_t left = __shfl_sync(0xFFFFFFFFu, scales, left_row);
  const uint32_t right = __shfl_sync(0xFFFFFFFFu, scales, right_row);
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

// Half of N sums of a lane, with the other lane's: the half that its bit `lane_bit` names.
template <int kHalf>
__device__ __forceinline__ void HalveSums(const float (&sums)[2 * kHalf], int lane_bit, int lane,
                                          float (&half)[kHalf]) {
  const bool upper = (lane & lane_bit) != 0;
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const float keep = upper ? sums[i + kHalf] : sums[i];
    const float give = upper ? sums[i] : sums[i + kHalf];
    half[i] = keep + __shfl_xor_sync(0xFFFFFFFFu, give, lane_bit);
  }
}

// Sums of a unit's rows over the eight lanes of each column, of row `lane` in a lane; the same tree
// for every row. visit(tile, sum) sets the two of a tile, two tiles at a time so that few live.
template <typename Visit>
__device__ __forceinline__ float ReduceUnit(int lane, Visit visit) {
  static_assert(kUnitTiles == 4);
  float all[4];
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    float sums[4], half[2];
    visit(t, sums);
    visit(t + 2, sums + 2);
    HalveSums<2>(sums, 16, lane, half);
    all[2 * t] = half[0];
    all[2 * t + 1] = half[1];
  }
  float half[2], own[1];
  HalveSums<2>(all, 8, lane, half);
  HalveSums<1>(half, 4, lane, own);
  return own[0];
}

// Scores of a regular unit, a lane a row. `codes` are the first tile's of this lane, in the order
// of columns, the next tile's kStride on: in a stage of shared memory, or in registers.
template <int kTiles, int kStride = 32>
__device__ __forceinline__ float ScoreUnit(const IndexerQuery<kTiles>& query, const uint4* codes,
                                           const RowScales& scales, int lane) {
  const int row = RowOfColumn(lane / 4);
  const uint32_t group = 0x4440u | static_cast<uint32_t>(lane % 4);
  const float sum = ReduceUnit(lane, [&](int tile, float* two) {
    const uint32_t distance = __shfl_sync(0xFFFFFFFFu, scales.distance, 8 * tile + row);
    ScoreRegular(query, codes[kStride * tile], ptx::PermuteBytes(distance, 0, group), two);
  });
  // The least scale as a float; that of byte 0 is subnormal.
  return sum * __uint_as_float(max(scales.least << 23, 0x00400000u));
}

// Scores of any unit, from device memory.
__device__ __forceinline__ float ScoreAnyUnit(const IndexerWork& work, int64_t local,
                                              const uint8_t* unit, uint32_t scales, int lane) {
  const auto* codes = reinterpret_cast<const uint4*>(unit) + 4 * RowOfColumn(lane / 4) + lane % 4;
  return ReduceUnit(lane, [&](int tile, float* two) {
    ScoreIrregular(work, local, codes[32 * tile], scales, tile, two);
  });
}

// Integers in the order of the floats; NaN as −∞, both zeros alike.
__device__ __forceinline__ uint32_t OrderedKey(float score) {
  const int32_t bits = __float_as_int(fmaxf(score, __uint_as_float(0xFF800000u)) + 0.0f);
  return static_cast<uint32_t>(bits ^ ((bits >> 31) | INT32_MIN));
}

}  // namespace tandem::kernels::cuda
