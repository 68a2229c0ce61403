// SPDX-License-Identifier: Apache-2.0
// Sums of the wide product (stream_wide.cuh): a warp's to shared memory; four rows of a token at a
// time to the outputs; slices of K on their way through scratch. A second launch adds the slices:
// it is resident when the first one ends, and all multiprocessors take part. Internal to
// kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/dtype.h"
#include "kernels/gemm/stream_sums.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {

// Sums of a warp, [token][row] for its kRows·16 rows; padded, so that a store meets every bank
// once.
template <int kRows>
inline constexpr int kSumStride = kRows* kTileRows + 4;

template <int kRows, int kColumns>
__device__ __forceinline__ void KeepSums(const float (&total)[kRows][kColumns][4], int tokens,
                                         float* sums) {
  const Lane lane = ThisLane();
#pragma unroll
  for (int column = 0; column < kColumns; ++column) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = 8 * column + 2 * lane.c + i % 2;
      if (token >= tokens) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        sums[token * kSumStride<kRows> + kTileRows * r + 8 * (i / 2) + lane.g] =
            total[r][column][i];
      }
    }
  }
}

// Where slices go when there are several: [slice][token][row], rows filled up to whole tiles.
struct WidePartial {
  float* sums;
  int width;
};

__device__ __forceinline__ void StoreFour(float* y, const float4& v, int64_t left) {
  if (left >= 4 && reinterpret_cast<uintptr_t>(y) % 16 == 0) {
    *reinterpret_cast<float4*>(y) = v;
    return;
  }
  const float each[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < left) y[i] = each[i];
  }
}
__device__ __forceinline__ void StoreFour(Bf16* y, const float4& v, int64_t left) {
  const uint2 pairs = {PackBf16(v.x, v.y), PackBf16(v.z, v.w)};
  if (left >= 4 && reinterpret_cast<uintptr_t>(y) % 8 == 0) {
    *reinterpret_cast<uint2*>(y) = pairs;
    return;
  }
  const uint32_t each[4] = {pairs.x & 0xFFFFu, pairs.x >> 16, pairs.y & 0xFFFFu, pairs.y >> 16};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < left) y[i] = Bf16{static_cast<uint16_t>(each[i])};
  }
}

inline constexpr int kAddThreads = 256;

// The sums of all slices, in ascending order, to the outputs. A thread takes four rows of a token.
template <typename Output>
__global__ void __launch_bounds__(kAddThreads)
    AddSlicesKernel(WidePartial partial, int slices, int tokens, int rows, Output* y) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int i = static_cast<int>(blockIdx.x * kAddThreads + threadIdx.x) * 4;
  const int token = i / partial.width, n = i - token * partial.width;
  if (token >= tokens || n >= rows) return;
  const float* from = partial.sums + i;
  float4 sum = *reinterpret_cast<const float4*>(from);
#pragma unroll 4
  for (int slice = 1; slice < slices; ++slice) {
    from += static_cast<int64_t>(tokens) * partial.width;
    sum = AddFour(sum, *reinterpret_cast<const float4*>(from));
  }
  StoreFour(y + int64_t{token} * rows + n, sum, rows - n);
}

}  // namespace tandem::kernels::cuda
