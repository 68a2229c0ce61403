// SPDX-License-Identifier: Apache-2.0
// One instruction each: functions within 2 ulp, subnormal values as zeros; minima and maxima.
#pragma once

#include <cstdint>

namespace tandem::kernels::ptx {

__device__ __forceinline__ float FastPowerOf2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float FastInverse(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// NaN if either is.
__device__ __forceinline__ float MinNan(float a, float b) {
  float m;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(m) : "f"(a), "f"(b));
  return m;
}
__device__ __forceinline__ float MaxNan(float a, float b) {
  float m;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(m) : "f"(a), "f"(b));
  return m;
}

// Of bf16 pairs; the other one where one is NaN.
__device__ __forceinline__ uint32_t MaxBf16(uint32_t a, uint32_t b) {
  uint32_t m;
  asm("max.bf16x2 %0, %1, %2;" : "=r"(m) : "r"(a), "r"(b));
  return m;
}

}  // namespace tandem::kernels::ptx
