// SPDX-License-Identifier: Apache-2.0
// movmatrix: a fragment to the fragment of its transpose, without memory.
#pragma once

#include <cstdint>

namespace tandem::kernels::ptx {

// An 8x8 matrix of 16-bit values; lane 4·g + c holds row g, columns 2c and 2c + 1.
__device__ __forceinline__ uint32_t TransposeMatrix(uint32_t pair) {
  uint32_t transposed;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(pair));
  return transposed;
}

}  // namespace tandem::kernels::ptx
