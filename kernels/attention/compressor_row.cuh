// SPDX-License-Identifier: Apache-2.0
// A pooled row of the compressor on a device: norm, rope, Hadamard where it is the indexer's, codes
// and their place. One thread has four neighbouring dims, a warp or four have the row.
//
// Norm: squares in fp32, their sum in pairs of floats. Everything behind it is exact: the same
// functions of the same values as Emit in compressor_step.cc. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/compressor.h"
#include "kernels/common/cuda/codec.cuh"
#include "kernels/norm/pair_sum.cuh"
#include "kernels/rope/angles.cuh"

namespace tandem::kernels::cuda {

// Four values of a row: two bf16 pairs.
struct Quad {
  uint32_t low, high;
};

// What a thread needs of weights and place before the row itself is there.
struct QuadWeights {
  Quad norm;
  Rotation first, second;  // of the last 64 dims
};

template <int kDim>
__device__ __forceinline__ bool IsRotated(int quad) {
  return quad >= (kDim - kRopeDim) / 4;
}

template <int kDim>
__device__ __forceinline__ QuadWeights LoadQuadWeights(const CompressorArgs& args, int quad,
                                                       int position) {
  const uint2 norm = *reinterpret_cast<const uint2*>(args.norm.data + 4 * quad);
  QuadWeights w = {.norm = {norm.x, norm.y}};
  if (IsRotated<kDim>(quad)) {
    const float* f = args.frequencies.data + 2 * (quad - (kDim - kRopeDim) / 4);
    w.first = RotationOf(__fmul_rn(static_cast<float>(position), f[0]));
    w.second = RotationOf(__fmul_rn(static_cast<float>(position), f[1]));
  }
  return w;
}

// bf( norm·( v·r ) ), rotated at the row's first position.
template <int kDim>
__device__ __forceinline__ Quad NormAndRotate(const float (&v)[4], float r, const QuadWeights& w,
                                              int quad) {
  Quad row = {PackBf16(__fmul_rn(LowBf16(w.norm.low), __fmul_rn(v[0], r)),
                       __fmul_rn(HighBf16(w.norm.low), __fmul_rn(v[1], r))),
              PackBf16(__fmul_rn(LowBf16(w.norm.high), __fmul_rn(v[2], r)),
                       __fmul_rn(HighBf16(w.norm.high), __fmul_rn(v[3], r)))};
  if (IsRotated<kDim>(quad)) {
    row.low = RotatePair(row.low, w.first.cos, w.first.sin);
    row.high = RotatePair(row.high, w.second.cos, w.second.sin);
  }
  return row;
}

// The scale of the group of kLanes quads that the lane's is in.
template <int kLanes>
__device__ __forceinline__ Ue8m0 GroupScale(const Quad& row, float floor, float inverse_largest) {
  float most = floor;
  most = fmaxf(most, fmaxf(fabsf(LowBf16(row.low)), fabsf(HighBf16(row.low))));
  most = fmaxf(most, fmaxf(fabsf(LowBf16(row.high)), fabsf(HighBf16(row.high))));
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, offset));
  }
  return ScaleOf(most, inverse_largest);
}

// Quad 0..127 of a KV row (paged_rows.h).
__device__ __forceinline__ void WriteKvQuad(const Quad& row, const KvPages& pages, int64_t index,
                                            int quad) {
  constexpr int kTileQuads = kKvTile / 4;
  const Ue8m0 scale = GroupScale<kTileQuads>(row, kE4M3Floor, kInverse448);
  uint8_t* data = pages.data_of(index);
  const int tile = quad / kTileQuads;
  if (tile < kKvTiles) {
    const float inverse = InverseScale(scale);
    const uint32_t low = PackE4M3(LowBf16(row.low) * inverse, HighBf16(row.low) * inverse);
    const uint32_t high = PackE4M3(LowBf16(row.high) * inverse, HighBf16(row.high) * inverse);
    *reinterpret_cast<uint32_t*>(data + 4 * quad) =
        scale.bits == 0xFF ? 0x7F7F7F7Fu : low | (high << 16);
  } else {
    *reinterpret_cast<uint2*>(data + kNopeDim + 8 * (quad - kNopeDim / 4)) = {row.low, row.high};
  }
  if (quad % kTileQuads == 0) pages.scales_of(index)[tile] = tile < kKvTiles ? scale.bits : 0;
}

// hadamard.h of a warp's 128 values: strides 1, 2 within the lane, 4 .. 64 across lanes.
__device__ __forceinline__ Quad HadamardQuad(const Quad& row, int lane) {
  constexpr float kScale = 0.08838834764831845f;
  const float x[4] = {LowBf16(row.low), HighBf16(row.low), LowBf16(row.high), HighBf16(row.high)};
  const float s[4] = {x[0] + x[1], x[0] - x[1], x[2] + x[3], x[2] - x[3]};
  float y[4] = {s[0] + s[2], s[1] + s[3], s[0] - s[2], s[1] - s[3]};
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float other = __shfl_xor_sync(0xFFFFFFFFu, y[i], offset);
      y[i] = (lane & offset) == 0 ? y[i] + other : other - y[i];
    }
  }
  return {PackBf16(y[0] * kScale, y[1] * kScale), PackBf16(y[2] * kScale, y[3] * kScale)};
}

// Quad 0..31 of an indexer row: the warp has it all.
__device__ __forceinline__ void WriteIndexerQuad(const Quad& row, const IndexerPages& pages,
                                                 int64_t index, int quad) {
  constexpr int kGroupQuads = kIndexGroup / 4;
  const Ue8m0 scale = GroupScale<kGroupQuads>(row, kE2M1Floor, kInverse6);
  const float inverse = scale.bits == 0xFF ? 0.0f : InverseScale(scale);
  const uint32_t codes = FloatToE2M1(LowBf16(row.low) * inverse) |
                         FloatToE2M1(HighBf16(row.low) * inverse) << 4 |
                         FloatToE2M1(LowBf16(row.high) * inverse) << 8 |
                         FloatToE2M1(HighBf16(row.high) * inverse) << 12;
  *reinterpret_cast<uint16_t*>(pages.data_of(index) + 2 * quad) = static_cast<uint16_t>(codes);
  if (quad % kGroupQuads == 0) pages.scales_of(index)[quad / kGroupQuads] = scale.bits;
}

}  // namespace tandem::kernels::cuda
