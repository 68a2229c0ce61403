// SPDX-License-Identifier: Apache-2.0
// Sums of a tile of two blocks (tile_turns.h), from the one to the other, by way of device memory.
// Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/gemm/tile_shape.cuh"

namespace tandem::kernels::cuda {

// Where the first half of a tile leaves its sums.
struct SharedSums {
  float4* sums;     // [tile][row tile of a warp, block of tokens][thread]
  uint32_t* ready;  // [tile][warp]; zeros before
};

template <class Shape>
inline constexpr int64_t kSharedSums = int64_t{Shape::kRowTiles} * Shape::kBlocks* kTileThreads;

// `at`: of the shared tiles.
template <class Shape>
__device__ __forceinline__ void LeaveSums(const SharedSums& shared, int at,
                                          const typename Shape::Sums& sums) {
  float4* const to = shared.sums + at * kSharedSums<Shape> + threadIdx.x;
#pragma unroll
  for (int i = 0; i < Shape::kRowTiles * Shape::kBlocks; ++i) {
    const float(&s)[4] = sums[i / Shape::kBlocks][i % Shape::kBlocks];
    to[i * kTileThreads] = make_float4(s[0], s[1], s[2], s[3]);
  }
  __syncwarp();
  if (threadIdx.x % 32 != 0) return;
  uint32_t* const ready = shared.ready + at * kTileWarps + threadIdx.x / 32;
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(ready), "r"(1) : "memory");
}

template <class Shape>
__device__ __forceinline__ void TakeSums(const SharedSums& shared, int at,
                                         typename Shape::Sums& sums) {
  const uint32_t* const ready = shared.ready + at * kTileWarps + threadIdx.x / 32;
  uint32_t there = 0;
  while (there == 0) {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(there) : "l"(ready) : "memory");
  }
  __syncwarp();
  const float4* const from = shared.sums + at * kSharedSums<Shape> + threadIdx.x;
#pragma unroll
  for (int i = 0; i < Shape::kRowTiles * Shape::kBlocks; ++i) {
    const float4 v = __ldcg(from + i * kTileThreads);
    float(&s)[4] = sums[i / Shape::kBlocks][i % Shape::kBlocks];
    s[0] = v.x, s[1] = v.y, s[2] = v.z, s[3] = v.w;
  }
}

}  // namespace tandem::kernels::cuda
