// SPDX-License-Identifier: Apache-2.0
// The atoms (atom.cuh) of the streaming products, with what these want beside: a tile's two
// products apart, so that no product need wait for the one before it; scales made factors once for
// all warps. Numerics are atom.cuh's. Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/gemm/atom.cuh"

namespace tandem::kernels::cuda {

// FP8 inputs, FP8 weights.
struct StreamFp8 : F16Dequant<WeightFormat::kFp8> {
  __device__ static void MultiplyStep(Part& part, const A& a, const MmaB& b, int j) {
    ptx::MmaF16(part.sum, a.step[j], b.step[j]);
  }
  // 2^(sw + sx) as atom.cuh has it, in two factors of half the exponent: both as bf16, the first
  // one high.
  __device__ static uint32_t Factors(uint32_t row_byte, uint32_t input_byte) {
    const uint32_t exponent = row_byte + input_byte, half = exponent / 2;
    return (half << 23) | ((exponent - half) << 7);
  }
  using F16Dequant<WeightFormat::kFp8>::EndStep;
  // `factors`: of tokens 2c and 2c + 1.
  __device__ static void EndStep(float (&total)[4], const Part& part, const uint2& factors) {
    const uint32_t pair[2] = {factors.x, factors.y};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float first = HighBf16(pair[i]), second = LowBf16(pair[i]);
      total[i] = fmaf(part.sum[i] * first, second, total[i]);
      total[i + 2] = fmaf(part.sum[i + 2] * first, second, total[i + 2]);
    }
  }
};

// Bf16 inputs, FP8 weights.
struct StreamFp8Bf16 : Bf16Dequant<WeightFormat::kFp8> {
  // By way of f16 and fp32: of the five instructions for a pair, two and a half are on the pipe
  // that Hopper's conversions and logic share; the bits' way (dequant.cuh) takes four there.
  __device__ static A UnpackA(const uint4 (&loads)[kLoads], int tile) {
    const uint32_t words[4] = {loads[tile].x, loads[tile].y, loads[tile].z, loads[tile].w};
    uint32_t low[4], high[4];
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      low[p] = Pair(words[p / 2] >> (16 * (p % 2)));
      high[p] = Pair(words[2 + p / 2] >> (16 * (p % 2)));
    }
    return Interleave(low, high);
  }
  __device__ static void MultiplyStep(Part& part, const A& a, const MmaB& b, int j) {
    ptx::MmaBf16(part.sum, a.step[j], b.step[j]);
  }

 private:
  __device__ static uint32_t Pair(uint32_t codes) {
    const float2 values = E4M3ToFloat2(static_cast<uint16_t>(codes));
    return PackBf16(values.x, values.y);
  }
};

// Bf16 inputs, bf16 weights.
template <bool kRaggedK = false>
struct StreamBf16Bf16 : Bf16Dequant<WeightFormat::kBf16, kRaggedK> {
  using Base = Bf16Dequant<WeightFormat::kBf16, kRaggedK>;
  __device__ static void MultiplyStep(typename Base::Part& part, const typename Base::A& a,
                                      const MmaB& b, int j) {
    ptx::MmaBf16(part.sum, a.step[j], b.step[j]);
  }
};

}  // namespace tandem::kernels::cuda
