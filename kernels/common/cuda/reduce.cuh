// SPDX-License-Identifier: Apache-2.0
// Sums and maxima over a warp and over a block, always in the same order.
//
// Every lane (thread) of the warp (block) takes part and gets the result. A block has a multiple of
// 32 threads, at most 1,024; its functions synchronise the block and use one static word a warp.
#pragma once

#include <cstdint>

namespace tandem::kernels::cuda {

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

// Over groups of `kLanes` neighbouring lanes (a power of two up to 32).
template <int kLanes = 32, typename T, typename Operation>
__device__ __forceinline__ T WarpReduce(T value, Operation operation) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    value = operation(value, __shfl_xor_sync(0xFFFFFFFFu, value, offset));
  }
  return value;
}

// The sum of this lane's value and of those of all lanes before it.
template <typename T>
__device__ __forceinline__ T WarpScan(T value) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const T below = __shfl_up_sync(0xFFFFFFFFu, value, offset);
    if (lane >= offset) value += below;
  }
  return value;
}

template <typename T, typename Operation>
__device__ __forceinline__ T BlockReduce(T value, Operation operation) {
  __shared__ T partial[32];
  value = WarpReduce(value, operation);
  const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
  if (warps == 1) return value;
  __syncthreads();  // the words may still be read by the reduction before
  if (threadIdx.x % 32 == 0) partial[warp] = value;
  __syncthreads();
  value = partial[0];
  for (int i = 1; i < warps; ++i) value = operation(value, partial[i]);
  return value;
}

}  // namespace tandem::kernels::cuda
