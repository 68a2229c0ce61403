// SPDX-License-Identifier: Apache-2.0
// The indexer's dot products by the matrix product of bytes, heads as its rows and keys as its
// columns.
//
// E2M1 times two is a small integer: 0 1 2 3 4 6 8 12; shifted by its scale's distance, every code
// of a regular row fits a byte (at most 96). A lane's 16 bytes of a key row are one scale group,
// and its scale shifts the table that turns codes into bytes, so a unit costs no multiplication by
// scales; the same of the query was made before. Sums start at a constant that makes their bits a
// float, and one saturating FMA is conversion, bias and ReLU. An irregular head is kept unshifted;
// units with an irregular row take the product group by group.
// Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/indexer_query.cuh"
#include "kernels/attention/indexer_tile.cuh"
#include "kernels/ptx/mma_int8.cuh"

namespace tandem::kernels::cuda {

// With |n| < 2^22 added, the bits are the float 12582912 + n.
inline constexpr uint32_t kMagic = 0x4B400000u;
inline constexpr float kMagicFloat = 12582912.0f;

// Table of doubled codes, shifted.
struct CodeTable {
  uint32_t low, high;
};
__device__ __forceinline__ CodeTable ShiftedCodes(uint32_t shift) {
  return {0x03020100u << shift, 0x0C080604u << shift};
}
// Four codes (the low 16 bits) to bytes 128 + value; `flipped` has the signs the other way round.
__device__ __forceinline__ uint32_t BiasedBytes(uint32_t codes, uint32_t flipped,
                                                const CodeTable& table) {
  return ptx::PermuteBytes(table.low, table.high, codes) + 0x80808080u -
         ptx::PermuteBytes(table.low, table.high, flipped);
}
__device__ __forceinline__ uint32_t SignedBytes(uint32_t codes, const CodeTable& table) {
  return BiasedBytes(codes, codes ^ 0x8888u, table) ^ 0x80808080u;
}

struct IndexerBytes {
  static constexpr int kSteps = 4;
  static constexpr bool kScalesGroups = true;
  static constexpr float kShrink = 0x1p-21f;  // codes are doubled, of both

  template <int kTiles>
  struct Query {
    uint32_t a[kTiles][kSteps][4];
    float weight[kTiles][2], offset[kTiles][2];
    uint32_t magic[4];  // kMagic, where the product's sums start
  };

  __device__ __forceinline__ static int32_t SumOfHead(const QueryPart& part, uint32_t shift) {
    const int half = static_cast<int>(threadIdx.x) % 2;
    int32_t sum = 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const CodeTable table = ShiftedCodes((shift >> (8 * (2 * half + i))) & 255u);
      const uint32_t words[4] = {part.words[i].x, part.words[i].y, part.words[i].z,
                                 part.words[i].w};
#pragma unroll
      for (const uint32_t word : words) {
        sum = __dp4a(static_cast<int32_t>(SignedBytes(word, table)), 0x01010101, sum);
        sum = __dp4a(static_cast<int32_t>(SignedBytes(word >> 16, table)), 0x01010101, sum);
      }
    }
    return sum + __shfl_xor_sync(0xFFFFFFFFu, sum, 1);
  }
  __device__ __forceinline__ static void PutHead(const IndexerWork& work, int64_t at, uint32_t word,
                                                 const RowScales& scales, int32_t sum) {
    work.head[at] = __float_as_uint(-(kMagicFloat + 128.0f * static_cast<float>(sum)) * kShrink);
    for (int group = 0; group < 4; ++group) {
      work.group_scale[4 * at + group] =
          scales.regular ? 1.0f : ScaleFloat((word >> (8 * group)) & 255u);
    }
  }

  // Lane 4·g + c has word `step` of group c.
  __device__ __forceinline__ static uint4 FragmentOf(const uint32_t* words, const uint32_t* shifts,
                                                     int64_t heads, int row, int lane, int step) {
    const int group = lane % 4;
    uint32_t a[2] = {}, shift[2] = {};
    for (int r = 0; r < 2; ++r) {
      if (row + 8 * r >= heads) continue;
      a[r] = words[16 * (row + 8 * r) + 4 * group + step];
      shift[r] = (shifts[row + 8 * r] >> (8 * group)) & 255u;
    }
    const CodeTable low = ShiftedCodes(shift[0]), high = ShiftedCodes(shift[1]);
    return make_uint4(SignedBytes(a[0], low), SignedBytes(a[1], high), SignedBytes(a[0] >> 16, low),
                      SignedBytes(a[1] >> 16, high));
  }

  template <int kTiles>
  __device__ __forceinline__ static void LoadHead(const IndexerWork& work, int64_t head, int m,
                                                  int r, Query<kTiles>* query) {
    query->offset[m][r] = __uint_as_float(work.head[head]);
  }
  template <int kTiles>
  __device__ __forceinline__ static void LoadOthers(const IndexerWork& work, int64_t local,
                                                    int lane, Query<kTiles>* query) {
    // A shuffle, so that the compiler keeps the four and does not make them anew for every product.
#pragma unroll
    for (int i = 0; i < 4; ++i) query->magic[i] = __shfl_sync(0xFFFFFFFFu, kMagic, lane);
  }

  // In the order of columns, and so in the order of lanes that read.
  __device__ __forceinline__ static uint32_t StagePlace(int lane) {
    return kIndexRowBytes * ColumnOfRow(lane / 4) + 16 * static_cast<uint32_t>(lane % 4);
  }
  __device__ __forceinline__ static uint4 LoadStage(const uint8_t* stage, int tile, int lane) {
    return reinterpret_cast<const uint4*>(stage)[lane + 32 * tile];
  }
  // Lane 4·g + c has group c of column g.
  __device__ __forceinline__ static uint4 LoadKeys(const uint8_t* unit, int tile, int lane) {
    return reinterpret_cast<const uint4*>(unit)[4 * RowOfColumn(lane / 4) + lane % 4 + 32 * tile];
  }

  __device__ __forceinline__ static uint32_t RegularScales(uint32_t distance) {
    return distance;
  }
  __device__ __forceinline__ static uint32_t UnitScales(uint32_t scales, int) {
    return scales;
  }

  template <int kTiles>
  __device__ __forceinline__ static void ScoreRegular(const Query<kTiles>& query,
                                                      const uint4& codes, uint32_t distances,
                                                      int tile, int lane, float* sum) {
    const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
    const uint32_t distance = __shfl_sync(0xFFFFFFFFu, distances, 8 * tile + RowOfColumn(lane / 4));
    const uint32_t group = 0x4440u | static_cast<uint32_t>(lane % 4);
    const CodeTable table = ShiftedCodes(ptx::PermuteBytes(distance, 0, group));
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

  // Unshifted, a group at a time, every scale applied to its own sum. `scales` are those of row
  // `lane` of the unit.
  __device__ __forceinline__ static void ScoreIrregular(const IndexerWork& work, int64_t local,
                                                        const uint4& codes, uint32_t scales,
                                                        int tile, float* sum) {
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
      AddIrregular(work, head, dot, kShrink, sum);
    }
  }
};

}  // namespace tandem::kernels::cuda
