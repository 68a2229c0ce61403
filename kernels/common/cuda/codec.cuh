// SPDX-License-Identifier: Apache-2.0
// The storage formats on a device: the same functions of the same values as common/dtype.h and
// common/quantise.h, two or four values at a time where the machine can.
//
// Exact. Source: reference/deepseek_v4.md 0 and 4.
#pragma once

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/common/quantise.h"

namespace tandem::kernels::cuda {

// bf16 pair in one word: low half = even index.
__device__ __forceinline__ float LowBf16(uint32_t pair) {
  return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float HighBf16(uint32_t pair) {
  return __uint_as_float(pair & 0xFFFF0000u);
}
// RNE of both, `low` into the low half.
__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
__device__ __forceinline__ Bf16 RoundToBf16(float x) {
  return Bf16{static_cast<uint16_t>(PackBf16(x, 0.0f) & 0xFFFFu)};
}

// RNE of both to f16, `low` into the low half.
__device__ __forceinline__ uint32_t PackHalf(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
// Exact from 2^-17 to 65,504, smaller ones to 2^-25.
__device__ __forceinline__ uint32_t HalvesOfBf16(uint32_t pair) {
  return PackHalf(LowBf16(pair), HighBf16(pair));
}

// E4M3: RNE, saturating at ±448, NaN → 0x7F.
__device__ __forceinline__ uint16_t PackE4M3(float low, float high) {
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
}
// Two codes to an f16 pair, exact.
__device__ __forceinline__ uint32_t E4M3ToHalf2(uint16_t pair) {
  uint32_t halves;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(pair));
  return halves;
}
__device__ __forceinline__ float2 E4M3ToFloat2(uint16_t pair) {
  const uint32_t halves = E4M3ToHalf2(pair);
  return __half22float2(*reinterpret_cast<const __half2*>(&halves));
}

// E2M1: RNE, saturating at ±6, NaN → 6: 0..15.
__device__ __forceinline__ uint32_t FloatToE2M1(float x) {
  const float a = fabsf(x);
  // Midpoints .25 .75 1.25 1.75 2.5 3.5 5; a tie goes to the even code.
  uint32_t code = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) +
                  (a >= 3.5f) + (a > 5.0f);
  if (!(a == a)) return 7;
  return code | ((__float_as_uint(x) >> 31) << 3);
}

inline constexpr float kInverse448 = 1.0f / 448.0f;
inline constexpr float kInverse6 = 1.0f / 6.0f;
inline constexpr float kE4M3Floor = 1e-4f;
inline constexpr float kE2M1Floor = 6 * 0x1p-126f;

}  // namespace tandem::kernels::cuda
