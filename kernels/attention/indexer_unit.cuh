// SPDX-License-Identifier: Apache-2.0
// Scores of one unit, 32 key rows, by one warp, whatever the product (indexer_query.cuh). Order of
// the sums over heads: 8 of a lane, then over lanes. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/indexer_bytes.cuh"
#include "kernels/attention/indexer_mx.cuh"

namespace tandem::kernels::cuda {

template <class Product, int kTiles>
using IndexerQuery = typename Product::template Query<kTiles>;

template <class Product, int kTiles>
__device__ __forceinline__ void LoadQuery(const IndexerWork& work, int64_t local, int lane,
                                          IndexerQuery<Product, kTiles>* query) {
  constexpr int kSteps = Product::kSteps;
  const uint4* fragments = work.fragments + local * kTiles * (32 * kSteps);
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const uint4 v = fragments[(m * kSteps + step) * 32 + lane];
      query->a[m][step][0] = v.x;
      query->a[m][step][1] = v.y;
      query->a[m][step][2] = v.z;
      query->a[m][step][3] = v.w;
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int64_t head = local * work.heads + 16 * m + 8 * r + lane / 4;
      query->weight[m][r] = work.weight[head];
      Product::template LoadHead<kTiles>(work, head, m, r, query);
    }
  }
  Product::template LoadOthers<kTiles>(work, local, lane, query);
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

// Scores of a regular unit, a lane a row. keys(tile): the operand of a tile.
template <class Product, int kTiles, typename Keys>
__device__ __forceinline__ float ScoreUnit(const IndexerQuery<Product, kTiles>& query,
                                           const Keys& keys, const RowScales& scales, int lane) {
  const uint32_t of_unit = Product::UnitScales(Product::RegularScales(scales.distance), lane);
  const float sum = ReduceUnit(lane, [&](int tile, float* two) {
    Product::template ScoreRegular<kTiles>(query, keys(tile), of_unit, tile, lane, two);
  });
  // The least scale as a float; that of byte 0 is subnormal.
  return sum * __uint_as_float(max(scales.least << 23, 0x00400000u));
}

// Scores of any unit, from device memory. Rare, so the query comes from memory too. `scales` are
// those of row `lane`.
template <class Product>
__device__ __forceinline__ float ScoreAnyUnit(const IndexerWork& work, int64_t local,
                                              const uint8_t* unit, uint32_t scales, int lane) {
  const uint32_t of_unit = Product::UnitScales(scales, lane);
  return ReduceUnit(lane, [&](int tile, float* two) {
    Product::ScoreIrregular(work, local, Product::LoadKeys(unit, tile, lane), of_unit, tile, two);
  });
}

// Integers in the order of the floats; NaN as −∞, both zeros alike.
__device__ __forceinline__ uint32_t OrderedKey(float score) {
  const int32_t bits = __float_as_int(fmaxf(score, __uint_as_float(0xFF800000u)) + 0.0f);
  return static_cast<uint32_t>(bits ^ ((bits >> 31) | INT32_MIN));
}

}  // namespace tandem::kernels::cuda
