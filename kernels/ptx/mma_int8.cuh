// SPDX-License-Identifier: Apache-2.0
// Warp matrix products of bytes D[16,8] = A[16,32]·B[32,8] + C with 32-bit sums, and the byte
// permutation that feeds them.
//
// Fragments, for lane = 4·g + c (g = 0..7, c = 0..3); four bytes a register, low byte first:
//   A: a0 = A[g][4c..4c+3]  a1 = A[g+8][4c..4c+3]  a2, a3: the same rows, columns 16 further
//   B: b0 = B[4c..4c+3][g]  b1 = B[4c+16..4c+19][g]
//   C, D: d0,d1 = D[g][2c,2c+1]  d2,d3 = D[g+8][2c,2c+1]
// Source: PTX ISA 9.0, "Matrix fragments for mma.m16n8k32". Exists on sm_90a and sm_120f.
#pragma once

#include <cstdint>

namespace tandem::kernels::ptx {

// A signed, B unsigned.
__device__ __forceinline__ void MmaS8U8(uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1, const uint32_t (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(c[0]), "r"(c[1]),
        "r"(c[2]), "r"(c[3]));
}

// Both signed.
__device__ __forceinline__ void MmaS8S8(uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1, const uint32_t (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(c[0]), "r"(c[1]),
        "r"(c[2]), "r"(c[3]));
}

// Byte n of the result is byte (selector >> 4n) & 7 of {high, low}; where bit 3 of that nibble is
// set, it is that byte's top bit eight times.
__device__ __forceinline__ uint32_t PermuteBytes(uint32_t low, uint32_t high, uint32_t selector) {
  uint32_t bytes;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(low), "r"(high), "r"(selector));
  return bytes;
}

}  // namespace tandem::kernels::ptx
