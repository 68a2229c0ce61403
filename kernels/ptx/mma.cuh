// SPDX-License-Identifier: Apache-2.0
// Warp matrix products D[16,8] += A[16,16]·B[16,8] with fp32 sums, and ldmatrix.
//
// Fragments, for lane = 4·g + c (g = 0..7, c = 0..3); two 16-bit values a register, low half first:
//   A: a0 = A[g][2c,2c+1]  a1 = A[g+8][2c,2c+1]  a2 = A[g][2c+8,2c+9]  a3 = A[g+8][2c+8,2c+9]
//   B: b0 = B[2c,2c+1][g]  b1 = B[2c+8,2c+9][g]
//   D: d0,d1 = D[g][2c,2c+1]  d2,d3 = D[g+8][2c,2c+1]
// Source: PTX ISA 9.0, "Matrix fragments for mma.m16n8k16". Exists on sm_90a and sm_120f.
#pragma once

#include <cstdint>

#include "kernels/ptx/async_copy.cuh"

namespace tandem::kernels::ptx {

__device__ __forceinline__ void MmaBf16(float (&d)[4], const uint32_t (&a)[4],
                                        const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void MmaF16(float (&d)[4], const uint32_t (&a)[4],
                                       const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8x8 matrices of 16-bit values; lane 8·i + r gives the address of row r of matrix i.
__device__ __forceinline__ void LoadMatrix4(uint32_t (&r)[4], uint32_t shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared));
}
__device__ __forceinline__ void LoadMatrix4(uint32_t (&r)[4], const void* shared) {
  LoadMatrix4(r, SharedAddress(shared));
}

// The same, each matrix transposed.
__device__ __forceinline__ void LoadMatrix4Transposed(uint32_t (&r)[4], uint32_t shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared));
}
__device__ __forceinline__ void LoadMatrix4Transposed(uint32_t (&r)[4], const void* shared) {
  LoadMatrix4Transposed(r, SharedAddress(shared));
}

}  // namespace tandem::kernels::ptx
