// SPDX-License-Identifier: Apache-2.0
// What the indexer's products share of a tile of eight keys: the order of its columns, and the
// steps from a dot product to a head's part of a score. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/indexer_query.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kUnitTiles = kUnit / 8;
inline constexpr int kTileBytes = 8 * kIndexRowBytes;
inline constexpr int kUnitCodeBytes = kUnitTiles * kTileBytes;
inline constexpr uint32_t kScalesOfOne = 0x7F7F7F7Fu;

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

// Adds heads `head`, head + 8 of a tile to the sums of two columns; dots of any size.
__device__ __forceinline__ void AddIrregular(const IndexerWork& work, int64_t head,
                                             const float (&dot)[4], float shrink, float* sum) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float y = dot[i] <= 0 ? 0.0f : dot[i] * shrink;  // NaN stays
    sum[i % 2] = __fmaf_rn(work.weight[head + 8 * (i / 2)], y, sum[i % 2]);
  }
}

}  // namespace tandem::kernels::cuda
