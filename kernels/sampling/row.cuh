// SPDX-License-Identifier: Apache-2.0
// What the sampling kernels know of a row of logits: an order, its best, and how several blocks
// share its work.
//
// A token's place in a row is a 64-bit integer: its logit in order (NaN least, both zeros alike)
// above the complement of its id. Places differ, the larger is the better, and ties of logits go to
// the lower id by themselves. Internal to kernels/sampling.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/reduce.cuh"
#include "kernels/common/tensor.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kBestThreads = 256;
inline constexpr int64_t kBestChunk = 16 * kBestThreads;  // logits a block

__device__ __forceinline__ uint32_t OrderedLogit(float l) {
  if (!(l == l)) return 0;
  const uint32_t u = __float_as_uint(l + 0.0f);
  return u ^ ((u >> 31) != 0 ? 0xFFFFFFFFu : 0x80000000u);
}
__device__ __forceinline__ float LogitOf(uint32_t ordered) {
  if (ordered == 0) return __uint_as_float(0x7FC00000u);
  return __uint_as_float(ordered ^ ((ordered >> 31) != 0 ? 0x80000000u : 0xFFFFFFFFu));
}

__device__ __forceinline__ uint64_t PlaceOf(float l, int64_t id) {
  return uint64_t{OrderedLogit(l)} << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(id));
}
__device__ __forceinline__ float LogitAt(uint64_t place) {
  return LogitOf(static_cast<uint32_t>(place >> 32));
}
__device__ __forceinline__ int32_t IdAt(uint64_t place) {
  return static_cast<int32_t>(0xFFFFFFFFu - static_cast<uint32_t>(place));
}

// Best place of every chunk of every row, into best[T, gridDim.x]; clears `words` words a row for
// the kernels that follow. Grid (chunks, T).
static __global__ void __launch_bounds__(kBestThreads)
    RowBestKernel(TensorView<const float, 2> logits, uint64_t* best, uint32_t* clear,
                  int64_t words) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t t = blockIdx.y, begin = blockIdx.x * kBestChunk;
  const int64_t end = min(begin + kBestChunk, logits.shape[1]);
  for (int64_t i = int64_t{blockIdx.x} * kBestThreads + threadIdx.x; i < words;
       i += int64_t{gridDim.x} * kBestThreads) {
    clear[t * words + i] = 0;
  }
  uint64_t place = 0;
  const float* row = logits.row(t);
#pragma unroll
  for (int i = 0; i < static_cast<int>(kBestChunk) / kBestThreads; ++i) {
    const int64_t id = begin + i * kBestThreads + threadIdx.x;
    if (id < end) place = max(place, PlaceOf(row[id], id));
  }
  place = BlockReduce(place, Max());
  if (threadIdx.x == 0) best[t * gridDim.x + blockIdx.x] = place;
}

// The best place of a row, from its chunks'.
__device__ __forceinline__ uint64_t RowBest(const uint64_t* chunks, int64_t count) {
  uint64_t place = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) place = max(place, chunks[i]);
  return BlockReduce(place, Max());
}

// True in the last of a row's blocks to come here; it sees what the others wrote. Whole block.
__device__ __forceinline__ bool ArriveLast(int32_t* arrivals, int32_t blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(arrivals, 1) == blocks - 1;
  __syncthreads();
  if (last) __threadfence();
  return last;
}

// Sums of the threads before this one, in a fixed order; `total` of all. Whole block.
template <typename T>
__device__ __forceinline__ T BlockPrefix(T own, T* total) {
  __shared__ T warp_sums[32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const T scan = WarpScan(own);
  // Without `own`, by a shuffle: a difference of floats would not be the sum of those before.
  const T shifted = __shfl_up_sync(0xFFFFFFFFu, scan, 1);
  const T within = lane == 0 ? T{} : shifted;
  __syncthreads();  // the words may still be read by the prefix before
  if (lane == 31) warp_sums[warp] = scan;
  __syncthreads();
  T before{}, all{};
  for (int w = 0; w < static_cast<int>(blockDim.x) / 32; ++w) {
    if (w < warp) before += warp_sums[w];
    all += warp_sums[w];
  }
  *total = all;
  return before + within;
}

}  // namespace tandem::kernels::cuda
