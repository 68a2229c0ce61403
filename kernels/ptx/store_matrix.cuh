// SPDX-License-Identifier: Apache-2.0
// stmatrix: the way back of ldmatrix, from the fragments of mma.cuh to shared memory.
#pragma once

#include <cstdint>

#include "kernels/ptx/async_copy.cuh"

namespace tandem::kernels::ptx {

// 8x8 matrices of 16-bit values, each transposed; lane 8·i + r gives the address of the 16 bytes
// that take column r of matrix i.
__device__ __forceinline__ void StoreMatrixTransposed(void* shared, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                   SharedAddress(shared)),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}
__device__ __forceinline__ void StoreMatrixTransposed(void* shared, const uint32_t (&r)[2]) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(SharedAddress(shared)),
      "r"(r[0]), "r"(r[1])
      : "memory");
}

}  // namespace tandem::kernels::ptx
