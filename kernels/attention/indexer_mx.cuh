// SPDX-License-Identifier: Apache-2.0
// The indexer's dot products by the block-scaled product of FP4 (ptx/mma_block_scale.h), heads as
// its rows and keys as its columns: codes and scales as they lie in the query and in the cache.
//
// A step covers two scale groups of 32, and lane 4·g + c has word c of each: of a query's head in
// registers, of a tile's keys by one ldmatrix. The product is handed a regular row's distances from
// its least scale, which is applied to the score; so its sums are exact in fp32, and the score has
// the bits that IndexerBytes has. An irregular row hands over its scales themselves.
// Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/indexer_query.cuh"
#include "kernels/attention/indexer_tile.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/ptx/mma_block_scale.cuh"

namespace tandem::kernels::cuda {

struct IndexerMx {
  static constexpr int kSteps = 2;
  static constexpr bool kScalesGroups = false;
  static constexpr float kShrink = 0x1p-19f;

  template <int kTiles>
  struct Query {
    uint32_t a[kTiles][kSteps][4];
    float weight[kTiles][2];
    uint32_t scales[(kTiles + 1) / 2];  // two tiles a register, as thread_a selects
  };

  __device__ __forceinline__ static int32_t SumOfHead(const QueryPart&, uint32_t) { return 0; }
  __device__ __forceinline__ static void PutHead(const IndexerWork& work, int64_t at, uint32_t word,
                                                 const RowScales& scales, int32_t) {
    work.head[at] = scales.regular ? RegularScales(scales.distance) : word;
  }

  // Lane 4·g + c has word c of groups 2·step and 2·step + 1.
  __device__ __forceinline__ static uint4 FragmentOf(const uint32_t* words, const uint32_t*,
                                                     int64_t heads, int row, int lane, int step) {
    uint32_t a[4] = {};
    for (int r = 0; r < 2; ++r) {
      if (row + 8 * r >= heads) continue;
      a[r] = words[16 * (row + 8 * r) + 8 * step + lane % 4];
      a[r + 2] = words[16 * (row + 8 * r) + 8 * step + 4 + lane % 4];
    }
    return make_uint4(a[0], a[1], a[2], a[3]);
  }

  template <int kTiles>
  __device__ __forceinline__ static void LoadHead(const IndexerWork&, int64_t, int, int,
                                                  Query<kTiles>*) {}
  template <int kTiles>
  __device__ __forceinline__ static void LoadOthers(const IndexerWork& work, int64_t local,
                                                    int lane, Query<kTiles>* query) {
    const int tile = kTiles == 1 ? 0 : lane % 4 / 2;
#pragma unroll
    for (int i = 0; i < (kTiles + 1) / 2; ++i) {
      query->scales[i] = HeadScales(work, local, 2 * i + tile, lane);
    }
  }
  // Of row g of a tile of heads in even lanes, of row g + 8 in odd ones.
  __device__ __forceinline__ static uint32_t HeadScales(const IndexerWork& work, int64_t local,
                                                        int tile, int lane) {
    return work.head[local * work.heads + 16 * tile + lane / 4 + 8 * (lane % 2)];
  }

  // Rows of 64 bytes in the order of columns, in each its groups in an order that lets eight rows
  // of a group lie in different banks.
  __device__ __forceinline__ static uint32_t StagePlace(int lane) {
    return Place(ColumnOfRow(lane / 4), lane % 4);
  }
  __device__ __forceinline__ static uint32_t Place(int column, int group) {
    return static_cast<uint32_t>(kIndexRowBytes * column + 16 * (group ^ (column / 2 & 3)));
  }
  // Lane 4·g + c has word c of column g, of each group.
  __device__ __forceinline__ static uint4 LoadStage(const uint8_t* stage, int tile, int lane) {
    uint32_t word[4];
    ptx::LoadMatrix4(word, ptx::SharedAddress(stage) + Place(lane % 8, lane / 8) +
                               static_cast<uint32_t>(kTileBytes * tile));
    return make_uint4(word[0], word[1], word[2], word[3]);
  }
  __device__ __forceinline__ static uint4 LoadKeys(const uint8_t* unit, int tile, int lane) {
    const auto* word = reinterpret_cast<const uint32_t*>(unit + kTileBytes * tile) +
                       16 * RowOfColumn(lane / 4) + lane % 4;
    return make_uint4(word[0], word[4], word[8], word[12]);
  }

  __device__ __forceinline__ static uint32_t RegularScales(uint32_t distance) {
    return distance + kScalesOfOne;
  }
  // From those of row `lane` of a unit: tile t in lanes 4·g + t, as thread_b selects.
  __device__ __forceinline__ static uint32_t UnitScales(uint32_t scales, int lane) {
    return __shfl_sync(0xFFFFFFFFu, scales, 8 * (lane % 4) + RowOfColumn(lane / 4));
  }

  // Adds the dot products of a tile of heads, which thread_a selects, and a tile of keys.
  __device__ __forceinline__ static void Multiply(const uint32_t (&a)[kSteps][4], const uint4& keys,
                                                  uint32_t head_scales, int thread_a,
                                                  uint32_t key_scales, int tile, float (&dot)[4]) {
    ptx::MmaFp4BlockScale(dot, a[0], keys.x, keys.y, head_scales, key_scales,
                          {.byte_a = 0, .thread_a = thread_a, .byte_b = 0, .thread_b = tile});
    ptx::MmaFp4BlockScale(dot, a[1], keys.z, keys.w, head_scales, key_scales,
                          {.byte_a = 2, .thread_a = thread_a, .byte_b = 2, .thread_b = tile});
  }

  template <int kTiles>
  __device__ __forceinline__ static void ScoreRegular(const Query<kTiles>& query, const uint4& keys,
                                                      uint32_t scales, int tile, int, float* sum) {
    float dot[kTiles][4] = {};
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      Multiply(query.a[m], keys, query.scales[m / 2], m % 2, scales, tile, dot[m]);
    }
    sum[0] = sum[1] = 0;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float y = SaturatingFma(dot[m][i], kShrink, 0.0f);
        sum[i % 2] = __fmaf_rn(query.weight[m][i / 2], y, sum[i % 2]);
      }
    }
  }

  __device__ __forceinline__ static void ScoreIrregular(const IndexerWork& work, int64_t local,
                                                        const uint4& keys, uint32_t scales,
                                                        int tile, float* sum) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int tiles = static_cast<int>(work.heads / 16);
    sum[0] = sum[1] = 0;
#pragma unroll 1
    for (int m = 0; m < tiles; ++m) {
      uint32_t a[kSteps][4];
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const uint4 v = work.fragments[((local * tiles + m) * kSteps + step) * 32 + lane];
        a[step][0] = v.x, a[step][1] = v.y, a[step][2] = v.z, a[step][3] = v.w;
      }
      float dot[4] = {};
      Multiply(a, keys, HeadScales(work, local, m, lane), 0, scales, tile, dot);
      AddIrregular(work, local * work.heads + 16 * m + lane / 4, dot, kShrink, sum);
    }
  }
};

}  // namespace tandem::kernels::cuda
