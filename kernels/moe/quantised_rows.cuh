// SPDX-License-Identifier: Apache-2.0
// Activations of few tokens as the products take them: act_quant's codes as f16 (E4M3 is exact in
// it), row-major, and a scale for every 128 of them. A lane quantises sixteen values; the eight
// lanes of a group of 128 stand side by side.
// Internal to kernels/moe. Source: kernels/quant/act_quant.h.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/tensor.h"
#include "kernels/gemm/dequant.cuh"
#include "kernels/moe/moe_experts_small.h"

namespace tandem::kernels::cuda {

inline constexpr int kGroupColumns = 128;  // under one activation scale
inline constexpr int kPieceColumns = 16;   // of a lane
inline constexpr int kPiecesPerGroup = kGroupColumns / kPieceColumns;

inline HalfRows TakeHalfRows(int64_t rows, int64_t columns, Scratch& scratch) {
  return {.codes = scratch.Take<uint16_t>(rows * columns),
          .scales = scratch.Take<float>(rows * columns / kGroupColumns)};
}

// The larger magnitude of each half; the sign says nothing.
__device__ __forceinline__ uint32_t LargerMagnitude(uint32_t a, uint32_t b) {
  uint32_t m;
  asm("max.xorsign.abs.bf16x2 %0, %1, %2;" : "=r"(m) : "r"(a), "r"(b));
  return m;
}

// Sixteen bf16 values to codes; returns the scale of the group, to which the eight lanes of an
// aligned eighth of the warp contribute. By the whole warp.
__device__ __forceinline__ float QuantisePiece(uint32_t (&pairs)[8]) {
  uint32_t m = pairs[0];
#pragma unroll
  for (int i = 1; i < 8; ++i) m = LargerMagnitude(m, pairs[i]);
#pragma unroll
  for (int offset = kPiecesPerGroup / 2; offset > 0; offset /= 2) {
    m = LargerMagnitude(m, __shfl_xor_sync(0xFFFFFFFFu, m, offset));
  }
  m &= 0x7FFF7FFFu;
  const float most = fmaxf(fmaxf(LowBf16(m), HighBf16(m)), kE4M3Floor);
  const Ue8m0 scale = ScaleOf(most, kInverse448);
  // A power of two: the product is exact where it counts, and bf16 has the range.
  const uint32_t inverse = __float_as_uint(InverseScale(scale)) >> 16;
#pragma unroll
  for (uint32_t& pair : pairs) {
    const uint32_t v = MultiplyBf16(pair, inverse | inverse << 16);
    pair = scale.bits == 0xFF ? 0x7FFF7FFFu : E4M3ToHalf2(PackE4M3(LowBf16(v), HighBf16(v)));
  }
  return ToFloat(scale);
}

// 256 bits of a row, where there are any.
__device__ __forceinline__ void LoadPiece(const Bf16* from, bool on, uint32_t (&v)[8]) {
  uint4 a = {}, b = {};
  if (on) {
    a = *reinterpret_cast<const uint4*>(from);
    b = *reinterpret_cast<const uint4*>(from + kPieceColumns / 2);
  }
  v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
  v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

__device__ __forceinline__ void StorePiece(const uint32_t (&v)[8], void* to) {
  uint4* at = static_cast<uint4*>(to);
  at[0] = make_uint4(v[0], v[1], v[2], v[3]);
  at[1] = make_uint4(v[4], v[5], v[6], v[7]);
}

// Warps that QuantiseRows takes: each has 512 columns of a row.
inline constexpr int kWarpColumns = 32 * kPieceColumns;
constexpr int64_t QuantiseWarps(int64_t tokens, int64_t dim) {
  return tokens * ((dim + kWarpColumns - 1) / kWarpColumns);
}

// x [T, dim] to rows in device memory; warp number `warp` of them all.
__device__ __forceinline__ void QuantiseRows(const TensorView<const Bf16, 2>& x, int warp,
                                             const HalfRows& to) {
  const int dim = static_cast<int>(x.shape[1]), parts = (dim + kWarpColumns - 1) / kWarpColumns;
  const int row = warp / parts;
  const int column =
      kWarpColumns * (warp % parts) + static_cast<int>(threadIdx.x) % 32 * kPieceColumns;
  const bool on = row < x.shape[0] && column < dim;
  const int64_t at = int64_t{row} * dim + column;
  uint32_t v[8];
  LoadPiece(x.data + at, on, v);
  const float scale = QuantisePiece(v);
  if (!on) return;
  StorePiece(v, to.codes + at);
  if (column % kGroupColumns == 0) to.scales[at / kGroupColumns] = scale;
}

}  // namespace tandem::kernels::cuda
