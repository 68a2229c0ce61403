// SPDX-License-Identifier: Apache-2.0
// Units of eight codes (fragment_order.h) to 16-bit pairs in registers: the way of every weight
// into a matrix product.
//
//   HalvesOf…   f16 pairs: E4M3 exact; E2M1 exact times 2^-14 (kFp4HalfScale makes up for it)
//   Bf16sOf…    bf16 pairs, exact, scale included as long as the product is a normal bf16
//   LowBf16sOf… the same by one multiplication, for a caller that makes up for a power of two
// Pair p holds codes 2p (low half) and 2p+1: what the registers of m16n8k16 want. Internal to
// kernels/gemm and kernels/moe; pure. Source: reference/deepseek_v4.md 2.4.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"

namespace tandem::kernels::cuda {

inline constexpr float kFp4HalfScale = 16384.0f;

__device__ __forceinline__ void HalvesOfFp8(const uint32_t (&unit)[2], uint32_t (&pairs)[4]) {
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    pairs[p] = E4M3ToHalf2(static_cast<uint16_t>(unit[p / 2] >> (16 * (p % 2))));
  }
}

// (a where mask is 1) | (b where it is 0), in one instruction; the compiler would take two.
__device__ __forceinline__ uint32_t SelectBits(uint32_t mask, uint32_t a, uint32_t b) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xCA;" : "=r"(d) : "r"(mask), "r"(a), "r"(b));
  return d;
}

// E2M1 is s ee m; as f16 the same four bits stand at 15 and 11..9, 2^14 too low, subnormals too.
// That is 7 and 3..1 of a byte, where codes 0..3 have them; codes 4..7 are put there.
__device__ __forceinline__ void HalvesOfFp4(uint32_t unit, uint32_t (&pairs)[4]) {
  constexpr uint32_t kSigns = 0x80808080u, kHighBytes = 0x8E008E00u;
  const uint32_t others = SelectBits(kSigns, unit << 7, unit >> 3);
  pairs[0] = (unit << 8) & kHighBytes;
  pairs[1] = unit & kHighBytes;
  pairs[2] = (others << 8) & kHighBytes;
  pairs[3] = others & kHighBytes;
}

// A power of two as both halves of a bf16 pair: 2^(byte − 127), for bytes 1..254.
__device__ __forceinline__ uint32_t Bf16Scale(uint32_t byte) {
  return byte * 0x00800080u;
}

__device__ __forceinline__ uint32_t MultiplyBf16(uint32_t a, uint32_t b) {
  uint32_t product;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}

// Codes times `factor`, in one multiplication. Bits at bf16's places are 2^126 (E2M1) and 2^120
// (E4M3) too low, which a factor makes up for; subnormals come out right.
__device__ __forceinline__ void LowBf16sOfFp4(uint32_t unit, uint32_t factor,
                                              uint32_t (&pairs)[4]) {
  // A pair alone: one multiplication puts s and ee m at their places, 15 and 8..6.
  constexpr uint32_t kFirst = 0x008E008Eu, kOthers = 0x00710071u, kPlaces = 0x81C081C0u;
  constexpr uint32_t kMoveFirst = 1u << 8 | 1u << 5, kMoveOthers = 1u << 15 | 1u << 2;
  const uint32_t high = unit >> 8;
  pairs[0] = MultiplyBf16(((unit & kFirst) * kMoveFirst) & kPlaces, factor);
  pairs[1] = MultiplyBf16(((high & kFirst) * kMoveFirst) & kPlaces, factor);
  pairs[2] = MultiplyBf16(((unit & kOthers) * kMoveOthers) & kPlaces, factor);
  pairs[3] = MultiplyBf16(((high & kOthers) * kMoveOthers) & kPlaces, factor);
}

__device__ __forceinline__ void LowBf16sOfFp8(uint32_t low, uint32_t high, uint32_t factor,
                                              uint32_t (&pairs)[4]) {
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    const uint32_t wide = __byte_perm(p < 2 ? low : high, 0, p % 2 == 0 ? 0x1404 : 0x3424);
    pairs[p] = MultiplyBf16((wide & 0x80008000u) | ((wide & 0x7F007F00u) >> 4), factor);
  }
}

// E4M3 codes without a scale.
__device__ __forceinline__ void Bf16CodesOfFp8(const uint32_t (&unit)[2], uint32_t (&pairs)[4]) {
  LowBf16sOfFp8(unit[0], unit[1], Bf16Scale(127 + 120), pairs);
}

}  // namespace tandem::kernels::cuda
