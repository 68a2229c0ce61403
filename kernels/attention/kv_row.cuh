// SPDX-License-Identifier: Apache-2.0
// One KV vector in the registers of a warp, and its way into a 584-byte row.
//
// Lane l has dims 16·l .. 16·l+15: a tile of 64 is four lanes, lanes 28..31 have the rotated dims.
// Every lane of the warp calls these. The bytes are those of WriteKvRow (common/paged_rows.h).
// Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/common/paged_rows.h"

namespace tandem::kernels::cuda {

inline constexpr int kLaneDims = kHeadDim / 32;
inline constexpr int kTileLanes = kKvTile / kLaneDims;
inline constexpr int kRopeLane = kNopeDim / kLaneDims;  // the first with rotated dims

// A lane's 16 values, in pairs as they stand in memory.
struct KvLane {
  uint32_t pairs[kLaneDims / 2];
};

__device__ __forceinline__ KvLane LoadLane(const Bf16* vector) {
  const auto* from = reinterpret_cast<const uint4*>(vector) + threadIdx.x % 32 * 2;
  const uint4 a = from[0], b = from[1];
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ __forceinline__ void StoreLane(const KvLane& v, Bf16* vector) {
  auto* to = reinterpret_cast<uint4*>(vector) + threadIdx.x % 32 * 2;
  to[0] = make_uint4(v.pairs[0], v.pairs[1], v.pairs[2], v.pairs[3]);
  to[1] = make_uint4(v.pairs[4], v.pairs[5], v.pairs[6], v.pairs[7]);
}

// The E4M3 codes of a lane under its tile's scale.
__device__ __forceinline__ uint4 QuantiseLane(const KvLane& v, Ue8m0 scale) {
  constexpr uint8_t kNanScale = 0xFF;
  constexpr uint32_t kNans = 0x7F7F7F7Fu;
  if (scale.bits == kNanScale) return make_uint4(kNans, kNans, kNans, kNans);
  const float inverse = InverseScale(scale);
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t a = v.pairs[2 * i], b = v.pairs[2 * i + 1];
    words[i] = PackE4M3(LowBf16(a) * inverse, HighBf16(a) * inverse) |
               static_cast<uint32_t>(PackE4M3(LowBf16(b) * inverse, HighBf16(b) * inverse)) << 16;
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

__device__ __forceinline__ void WriteRow(const KvLane& v, const KvPages& pages, int64_t row) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint8_t* data = pages.data_of(row);
  float most = kE4M3Floor;
#pragma unroll
  for (const uint32_t pair : v.pairs) {
    const float a = fabsf(LowBf16(pair)), b = fabsf(HighBf16(pair));
    most = a > most ? a : most;  // a NaN does not move the scale
    most = b > most ? b : most;
  }
  const Ue8m0 scale = ScaleOf(WarpReduce<kTileLanes>(most, Max()), kInverse448);
  if (lane < kRopeLane) {
    reinterpret_cast<uint4*>(data)[lane] = QuantiseLane(v, scale);
  } else {
    auto* to = reinterpret_cast<uint4*>(data + kNopeDim) + 2 * (lane - kRopeLane);
    to[0] = make_uint4(v.pairs[0], v.pairs[1], v.pairs[2], v.pairs[3]);
    to[1] = make_uint4(v.pairs[4], v.pairs[5], v.pairs[6], v.pairs[7]);
  }
  const uint32_t byte = __shfl_sync(0xFFFFFFFFu, uint32_t{scale.bits}, lane * kTileLanes % 32);
  if (lane < kKvRowScaleBytes) {
    pages.scales_of(row)[lane] = lane < kKvTiles ? static_cast<uint8_t>(byte) : 0;
  }
}

}  // namespace tandem::kernels::cuda
