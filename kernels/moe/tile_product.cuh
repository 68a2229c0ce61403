// SPDX-License-Identifier: Apache-2.0
// The products of an expert for up to eight tokens, a warp at a time: two row tiles of 16 rows (w1
// and w3, or two neighbours of w2) against the rows of up to eight (token, expert) pairs.
//
// Weights are operand A of m16n8k16; the pairs are its eight columns. A warp walks over slots, a
// slot being 2 KB: two loads of each tile, 128 columns of FP4 or 64 of FP8. How they come is
// tile_pair.cuh's and weight_ring.cuh's: into registers, or through shared memory; always some
// ahead, also across the end of a part of a matrix. Activations come as f16 codes and scales
// (quantised_rows.cuh) from an Input:
//   Prepare<n>(slot)  before the products of slots slot and slot + 1, slot even
//   Codes<n>(slot)    where this lane's eight codes of each tile of 32 of that slot's n columns are
//   Scales(group)     of the lane's two columns of the sum; group of 128 columns of the part
//
// Exact products, fp32 sums: an FP4 group of 32 columns from zero, times 2^sw; four of those, times
// 2^sx, are added to the sum; FP8 the same with 64 columns from zero. E2M1 is kept 2^14 too small
// until the end (kFp4HalfScale). Columns of the product beyond the last pair repeat that pair.
// Internal to kernels/moe. Source: kernels/gemm/fragment_order.h.
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/tensor.h"
#include "kernels/gemm/dequant.cuh"
#include "kernels/gemm/fragment_order.h"
#include "kernels/moe/moe_experts.h"
#include "kernels/moe/quantised_rows.cuh"
#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/mma.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kColumns = 8;                              // pairs of one product
inline constexpr int kSlotLoads = 2;                            // of each tile
inline constexpr int kSlotBytes = kSlotLoads * kWarpLoadBytes;  // of each tile
inline constexpr int kFp4ScaleBytes = 64;                       // of each tile and slot of FP4

// One matrix of all experts in fragment order: expert e's stands at prepared + e·stride.
struct MatrixSet {
  const uint8_t* prepared = nullptr;
  int64_t stride = 0;
  int64_t scale_offset = 0;
  int64_t bytes = 0;   // of one expert, a multiple of 16
  int32_t loads = 0;   // along K
  int32_t groups = 0;  // of 128 columns
  bool fp4 = false;

  __device__ int slots_of(int n) const { return fp4 ? n : 2 * n; }  // n groups
};

inline MatrixSet SetOf(const LinearWeight& weight, int64_t stride) {
  KERNEL_CHECK(weight.prepared != nullptr);
  KERNEL_CHECK(weight.format != WeightFormat::kBf16);
  KERNEL_CHECK_MULTIPLE(weight.k, kGroupColumns);
  return {.prepared = weight.prepared,
          .stride = stride,
          .scale_offset = FragmentScaleOffset(weight.format, weight.n, weight.k),
          .bytes = (FragmentScaleOffset(weight.format, weight.n, weight.k) + ScaleCount(weight)) /
                   kLoadBytes * kLoadBytes,
          .loads = static_cast<int32_t>(LoadsPerRow(weight.format, weight.k)),
          .groups = static_cast<int32_t>(weight.k / kGroupColumns),
          .fp4 = weight.format == WeightFormat::kFp4};
}

// The same matrix of all experts; none: nothing.
inline MatrixSet RoutedSet(const TensorView<const ExpertWeights, 1>& routed,
                           LinearWeight ExpertWeights::*matrix) {
  const int64_t count = routed.shape[0];
  if (count == 0) return {};
  const LinearWeight& zero = routed[0].*matrix;
  const int64_t stride = count > 1 ? (routed[1].*matrix).prepared - zero.prepared : 0;
  for (int64_t e = 0; e < count; ++e) {
    const LinearWeight& weight = routed[e].*matrix;
    KERNEL_CHECK(weight.prepared == zero.prepared + e * stride);
    KERNEL_CHECK(weight.format == zero.format && weight.n == zero.n && weight.k == zero.k);
  }
  return SetOf(zero, stride);
}

// Asks for share i of n of expert e's matrix to be in L2; by one lane of the warp.
__device__ __forceinline__ void PrefetchShare(const MatrixSet& set, int64_t e, int i, int n) {
  if (threadIdx.x % 32 != 0) return;
  constexpr int64_t kLine = 128;
  const int64_t share = (set.bytes / n + kLine) / kLine * kLine;
  const int64_t begin = share * i < set.bytes ? share * i : set.bytes;
  const int64_t size = set.bytes - begin < share ? set.bytes - begin : share;
  if (size > 0) {
    ptx::PrefetchL2Bulk(set.prepared + e * set.stride + begin, static_cast<uint32_t>(size));
  }
}

// Part of K of two tiles.
inline constexpr int kNoMore = -1;  // slots: there is none
inline constexpr int kNotYet = -2;  // it will be known later
struct Part {
  const uint8_t* codes[2] = {};   // of the first load
  const uint8_t* scales[2] = {};  // of the first slot
  int slots = 0;
  bool fp4 = false;
};

// Groups first .. last−1 of row tile `tile[i]` of `set[i]`, expert `e`.
__device__ __forceinline__ Part MakePart(const MatrixSet& set0, const MatrixSet& set1, int64_t e,
                                         int tile0, int tile1, int first, int last) {
  Part part;
  part.fp4 = set0.fp4;
  part.slots = set0.slots_of(last - first);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const MatrixSet& set = i == 0 ? set0 : set1;
    const int tile = i == 0 ? tile0 : tile1;
    const uint8_t* base = set.prepared + e * set.stride;
    part.codes[i] =
        base + (int64_t{tile} * set.loads + set.slots_of(first) * kSlotLoads) * kWarpLoadBytes;
    // FP4: 64 bytes a group of a row tile; FP8: a byte a group of eight row tiles.
    part.scales[i] = base + set.scale_offset +
                     (set.fp4 ? (int64_t{tile} * set.groups + first) * kFp4ScaleBytes
                              : int64_t{tile / 8} * set.groups + first);
  }
  return part;
}

// A power of two from byte j of a word that has been turned right by one, where byte 3 is an
// exponent already.
__device__ __forceinline__ uint32_t TurnForScales(uint32_t word) {
  return __funnelshift_r(word, word, 1);
}
__device__ __forceinline__ float ScaleOfTurned(uint32_t word, int j) {
  const uint32_t moved = j == 0 ? __funnelshift_l(word, word, 24) : word << (24 - 8 * j);
  return __uint_as_float(moved & 0x7F800000u);
}

__device__ __forceinline__ void MmaF16FromZero(float (&d)[4], const uint32_t (&a)[4],
                                               const uint32_t (&b)[2]) {
#pragma unroll
  for (float& v : d) v = 0.0f;
  ptx::MmaF16(d, a, b);
}

// This lane's codes of a slot, by tile of 32 columns: read when they are wanted, or before.
struct CodesAt {
  const uint4* at;
  __device__ __forceinline__ uint4 operator[](int k) const { return at[4 * k]; }
};
template <int kTiles>
__device__ __forceinline__ void LoadCodes(const CodesAt& codes, uint4 (&to)[kTiles]) {
#pragma unroll
  for (int k = 0; k < kTiles; ++k) to[k] = codes[k];
}

// 128 columns of FP4; the scales of tile i, rows g and g + 8, are row_words[i], turned.
template <typename Codes>
__device__ __forceinline__ void AddFp4(const uint4 (&buffer)[2 * kSlotLoads],
                                       const uint32_t (&row_words)[2][2], const Codes& codes,
                                       float2 scale, float (&sum)[2][4]) {
  float part[2][4] = {};
#pragma unroll
  for (int k = 0; k < 4; ++k) {  // tiles of 32 columns
    const uint4 b = codes[k];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4& u = buffer[kSlotLoads * i + k / 2];
      uint32_t low[4], high[4];
      HalvesOfFp4(k % 2 == 0 ? u.x : u.z, low);
      HalvesOfFp4(k % 2 == 0 ? u.y : u.w, high);
      float d[4];
      MmaF16FromZero(d, {low[0], high[0], low[1], high[1]}, {b.x, b.y});
      ptx::MmaF16(d, {low[2], high[2], low[3], high[3]}, {b.z, b.w});
      const float s = ScaleOfTurned(row_words[i][0], k), s8 = ScaleOfTurned(row_words[i][1], k);
      part[i][0] += d[0] * s;
      part[i][1] += d[1] * s;
      part[i][2] += d[2] * s8;
      part[i][3] += d[3] * s8;
    }
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    sum[i][0] += part[i][0] * scale.x;
    sum[i][1] += part[i][1] * scale.y;
    sum[i][2] += part[i][2] * scale.x;
    sum[i][3] += part[i][3] * scale.y;
  }
}

// 64 columns of FP8; `bytes` are the tiles' scales.
template <typename Codes>
__device__ __forceinline__ void AddFp8(const uint4 (&buffer)[2 * kSlotLoads],
                                       const uint32_t (&bytes)[2], const Codes& codes, float2 scale,
                                       float (&sum)[2][4]) {
  const uint4 b[2] = {codes[0], codes[1]};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float d[4] = {};
#pragma unroll
    for (int k = 0; k < 2; ++k) {  // tiles of 32 columns
      const uint4& u = buffer[kSlotLoads * i + k];
      uint32_t low[4], high[4];
      HalvesOfFp8({u.x, u.y}, low);
      HalvesOfFp8({u.z, u.w}, high);
      ptx::MmaF16(d, {low[0], high[0], low[1], high[1]}, {b[k].x, b[k].y});
      ptx::MmaF16(d, {low[2], high[2], low[3], high[3]}, {b[k].z, b[k].w});
    }
    const float s = __uint_as_float(bytes[i] << 23);
    sum[i][0] += d[0] * (s * scale.x);
    sum[i][1] += d[1] * (s * scale.y);
    sum[i][2] += d[2] * (s * scale.x);
    sum[i][3] += d[3] * (s * scale.y);
  }
}

}  // namespace tandem::kernels::cuda
