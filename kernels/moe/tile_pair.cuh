// SPDX-License-Identifier: Apache-2.0
// The products of an expert for up to eight tokens, a warp at a time: two row tiles of 16 rows (w1
// and w3, or two neighbours of w2) against the rows of up to eight (token, expert) pairs.
//
// Weights go from device memory straight into registers, as operand A of m16n8k16; the pairs are
// its eight columns. A warp walks over slots, a slot being 2 KB: two loads of each tile, 128
// columns of FP4 or 64 of FP8. Two slots are always under way, also across the end of a part of a
// matrix. Activations come as f16 codes and scales (quantised_rows.cuh) from an Input:
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
#include "kernels/moe/quantised_rows.cuh"
#include "kernels/ptx/bulk_prefetch.cuh"
#include "kernels/ptx/load.cuh"
#include "kernels/ptx/mma.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kColumns = 8;                              // pairs of one product
inline constexpr int kSlotsAhead = 2;                           // under way
inline constexpr int kSlotLoads = 2;                            // of each tile
inline constexpr int kSlotBytes = kSlotLoads * kWarpLoadBytes;  // of each tile

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
struct Part {
  const uint8_t* codes[2] = {};   // this lane's, of the first load
  const uint8_t* scales[2] = {};  // this lane's, of the first two slots
  int slots = 0;
  bool fp4 = false;
};

// Groups first .. last−1 of row tile `tile[i]` of `set[i]`, expert `e`.
__device__ __forceinline__ Part MakePart(const MatrixSet& set0, const MatrixSet& set1, int64_t e,
                                         int tile0, int tile1, int first, int last) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  Part part;
  part.fp4 = set0.fp4;
  part.slots = set0.slots_of(last - first);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const MatrixSet& set = i == 0 ? set0 : set1;
    const int tile = i == 0 ? tile0 : tile1;
    const uint8_t* base = set.prepared + e * set.stride;
    part.codes[i] = base + lane * kLoadBytes +
                    (int64_t{tile} * set.loads + set.slots_of(first) * kSlotLoads) * kWarpLoadBytes;
    // FP4: 64 bytes a group of a row tile; FP8: a byte a group of eight row tiles.
    part.scales[i] = base + set.scale_offset +
                     (set.fp4 ? (int64_t{tile} * set.groups + first) * 64 + 4 * lane
                              : int64_t{tile / 8} * set.groups + first);
  }
  return part;
}

// A power of two from byte j of a word.
__device__ __forceinline__ float ScaleByte(uint32_t word, int j) {
  constexpr uint32_t kExponent = 0x7F800000u;
  return __uint_as_float((j == 3 ? word >> 1 : word << (23 - 8 * j)) & kExponent);
}

__device__ __forceinline__ void MmaF16FromZero(float (&d)[4], const uint32_t (&a)[4],
                                               const uint32_t (&b)[2]) {
#pragma unroll
  for (float& v : d) v = 0.0f;
  ptx::MmaF16(d, a, b);
}

// 128 columns of FP4; `words` has the scales of two slots, `half` says which.
__device__ __forceinline__ void AddFp4(const uint4 (&buffer)[2 * kSlotLoads],
                                       const uint32_t (&words)[2], int half, const uint4* codes,
                                       float2 scale, float (&sum)[2][4]) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4;
  uint32_t row_words[2][2];  // by tile, row g and g + 8
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    row_words[i][0] = __shfl_sync(0xFFFFFFFFu, words[i], 16 * half + g);
    row_words[i][1] = __shfl_sync(0xFFFFFFFFu, words[i], 16 * half + g + 8);
  }
  float part[2][4] = {};
#pragma unroll
  for (int k = 0; k < 4; ++k) {  // tiles of 32 columns
    const uint4 b = codes[4 * k];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4& u = buffer[kSlotLoads * i + k / 2];
      uint32_t low[4], high[4];
      HalvesOfFp4(k % 2 == 0 ? u.x : u.z, low);
      HalvesOfFp4(k % 2 == 0 ? u.y : u.w, high);
      float d[4];
      MmaF16FromZero(d, {low[0], high[0], low[1], high[1]}, {b.x, b.y});
      ptx::MmaF16(d, {low[2], high[2], low[3], high[3]}, {b.z, b.w});
      const float s = ScaleByte(row_words[i][0], k), s8 = ScaleByte(row_words[i][1], k);
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
__device__ __forceinline__ void AddFp8(const uint4 (&buffer)[2 * kSlotLoads],
                                       const uint32_t (&bytes)[2], const uint4* codes, float2 scale,
                                       float (&sum)[2][4]) {
  const uint4 b[2] = {codes[0], codes[4]};
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
    const float s = ScaleByte(bytes[i], 0);
    sum[i][0] += d[0] * (s * scale.x);
    sum[i][1] += d[1] * (s * scale.y);
    sum[i][2] += d[2] * (s * scale.x);
    sum[i][3] += d[3] * (s * scale.y);
  }
}

// The weights on their way.
class TilePair {
 public:
  __device__ __forceinline__ void Start(const Part& part) {
    MoveTo(part);
    LoadWords(part.fp4, part.slots);
#pragma unroll
    for (int b = 0; b < kSlotsAhead; ++b) Load(part.slots, b);
  }

  // Asks for what follows of `part`, which has just started, to be in L2.
  static __device__ __forceinline__ void PrefetchRest(const Part& part) {
    if (threadIdx.x % 32 != 0 || part.slots <= kSlotsAhead) return;
    const auto bytes = static_cast<uint32_t>((part.slots - kSlotsAhead) * kSlotBytes);
    ptx::PrefetchL2Bulk(part.codes[0] + kSlotsAhead * kSlotBytes, bytes);
    ptx::PrefetchL2Bulk(part.codes[1] + kSlotsAhead * kSlotBytes, bytes);
  }

  // Adds the products of a part of `slots` slots, which is under way, and sets the Part that next()
  // returns on its way.
  template <typename Next, typename Input>
  __device__ __forceinline__ void Run(int slots, bool fp4, const Next& next, const Input& input,
                                      float (&sum)[2][4]) {
    if (slots == 0) {
      Start(next());
    } else if (fp4) {
      RunFormat<true>(slots, next, input, sum);
    } else {
      RunFormat<false>(slots, next, input, sum);
    }
  }

 private:
  __device__ __forceinline__ void MoveTo(const Part& part) {
#pragma unroll
    for (int i = 0; i < 2; ++i) codes_[i] = part.codes[i], scales_[i] = part.scales[i];
  }

  // Slot b of the `left` ones from here on.
  __device__ __forceinline__ void Load(int left, int b) {
    if (b >= left) return;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int l = 0; l < kSlotLoads; ++l) {
        buffer_[b][kSlotLoads * i + l] =
            ptx::LoadStream(codes_[i] + b * kSlotBytes + l * kWarpLoadBytes);
      }
    }
  }

  // FP4: the word of row lane % 16 of slot lane / 16; FP8: the byte of both slots.
  __device__ __forceinline__ void LoadWords(bool fp4, int left) {
    if (fp4) {
      if (static_cast<int>(threadIdx.x) % 32 / 16 >= left) return;
#pragma unroll
      for (int i = 0; i < 2; ++i) words_[i] = __ldg(reinterpret_cast<const uint32_t*>(scales_[i]));
    } else if (left > 0) {
#pragma unroll
      for (int i = 0; i < 2; ++i) words_[i] = __ldg(scales_[i]);
    }
  }

  template <bool kFp4, typename Next, typename Input>
  __device__ __forceinline__ void RunFormat(int slots, const Next& next, const Input& input,
                                            float (&sum)[2][4]) {
    constexpr int kSlotColumns = kFp4 ? kGroupColumns : kGroupColumns / 2;
#pragma unroll 1
    for (int slot = 0; slot < slots; slot += kSlotsAhead) {
      const uint32_t words[2] = {words_[0], words_[1]};
      int left = slots - slot - kSlotsAhead;
      if (left > 0) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          codes_[i] += kSlotsAhead * kSlotBytes;
          scales_[i] += kFp4 ? kSlotsAhead * 64 : 1;
        }
        LoadWords(kFp4, left);
      } else {
        const Part part = next();
        MoveTo(part);
        left = part.slots;
        LoadWords(part.fp4, left);
      }
      input.template Prepare<kSlotColumns>(slot);
#pragma unroll
      for (int b = 0; b < kSlotsAhead; ++b) {
        if (slot + b < slots) {
          const uint4* codes = input.template Codes<kSlotColumns>(slot + b);
          const float2 scale = input.Scales(kFp4 ? slot + b : slot / 2);
          if constexpr (kFp4) {
            AddFp4(buffer_[b], words, b, codes, scale, sum);
          } else {
            AddFp8(buffer_[b], words, codes, scale, sum);
          }
        }
        Load(left, b);
      }
    }
  }

  uint4 buffer_[kSlotsAhead][2 * kSlotLoads];  // load l of tile i at 2·i + l
  uint32_t words_[2] = {};                     // scales of the two slots, by tile
  const uint8_t* codes_[2];                    // of those
  const uint8_t* scales_[2];
};

}  // namespace tandem::kernels::cuda
