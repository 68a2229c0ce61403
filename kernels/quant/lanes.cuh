// SPDX-License-Identifier: Apache-2.0
// Small vectors spread over neighbouring lanes, eight bf16 values (16 bytes) a lane: 128 values are
// 16 lanes, a group of 32 is four. What act_quant, fp4_quant, hadamard and index_query share.
//
// Exact. Every lane of the warp takes part. Source: reference/deepseek_v4.md 3.4, 3.7, 4.2, 4.4.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/reduce.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kLaneValues = 8;
using LaneValues = float[kLaneValues];

__device__ __forceinline__ void Unpack(const uint4& packed, LaneValues& v) {
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[2 * i] = LowBf16(words[i]);
    v[2 * i + 1] = HighBf16(words[i]);
  }
}

__device__ __forceinline__ uint4 Pack(const LaneValues& v) {
  return make_uint4(PackBf16(v[0], v[1]), PackBf16(v[2], v[3]), PackBf16(v[4], v[5]),
                    PackBf16(v[6], v[7]));
}

// The group's largest magnitude, NaN aside, and at least `floor`.
template <int kLanes>
__device__ __forceinline__ float FlooredMaximum(const LaneValues& v, float floor) {
  float a = floor;
#pragma unroll
  for (int i = 0; i < kLaneValues; ++i) a = fmaxf(a, fabsf(v[i]));
  return WarpReduce<kLanes>(a, [](float x, float y) { return fmaxf(x, y); });
}

// The E4M3 codes of a group of sixteen lanes (act_quant's); this lane's eight.
__device__ __forceinline__ uint2 QuantiseE4M3(const LaneValues& v, Ue8m0* scale) {
  *scale = ScaleOf(FlooredMaximum<16>(v, kE4M3Floor), kInverse448);
  const float inverse = InverseScale(*scale);
  uint32_t codes[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float* x = v + 4 * half;
    codes[half] = PackE4M3(x[0] * inverse, x[1] * inverse) |
                  static_cast<uint32_t>(PackE4M3(x[2] * inverse, x[3] * inverse)) << 16;
    if (scale->bits == 0xFF) codes[half] = 0x7F7F7F7Fu;
  }
  return {codes[0], codes[1]};
}

// The E2M1 codes of a group of four lanes; this lane's eight, low nibble first.
__device__ __forceinline__ uint32_t QuantiseE2M1(const LaneValues& v, Ue8m0* scale) {
  *scale = ScaleOf(FlooredMaximum<4>(v, kE2M1Floor), kInverse6);
  const float inverse = scale->bits == 0xFF ? 0.0f : InverseScale(*scale);
  uint32_t codes = 0;
#pragma unroll
  for (int i = 0; i < kLaneValues; ++i) {
    const float x = v[i] * inverse;
    // 2^-126 lower, E2M1's exponents are float's, its subnormals too: RNE to one mantissa bit.
    const uint32_t u = __float_as_uint(fabsf(x) * 0x1p-126f);
    const uint32_t code = min((u + 0x1FFFFFu + ((u >> 22) & 1u)) >> 22, 7u);
    codes |= (code | ((__float_as_uint(x) >> 28) & 8u)) << (4 * i);
  }
  return codes;
}

// Hadamard over 16 lanes; the order of sums is the contract's. Not yet scaled nor rounded.
__device__ __forceinline__ void Hadamard(LaneValues& v, int lane) {
#pragma unroll
  for (int stride = 1; stride < kLaneValues; stride *= 2) {
#pragma unroll
    for (int i = 0; i < kLaneValues; ++i) {
      if ((i & stride) != 0) continue;
      const float a = v[i], b = v[i + stride];
      v[i] = a + b;
      v[i + stride] = a - b;
    }
  }
#pragma unroll
  for (int step = 1; step < 16; step *= 2) {
    const bool second = (lane & step) != 0;
#pragma unroll
    for (int i = 0; i < kLaneValues; ++i) {
      const float other = __shfl_xor_sync(0xFFFFFFFFu, v[i], step);
      v[i] = second ? other - v[i] : v[i] + other;
    }
  }
}

inline constexpr float kHadamardScale = 0.08838834764831845f;  // 128^-½

__device__ __forceinline__ uint4 ScaleAndPack(LaneValues& v) {
#pragma unroll
  for (int i = 0; i < kLaneValues; ++i) v[i] *= kHadamardScale;
  return Pack(v);
}

}  // namespace tandem::kernels::cuda
