// SPDX-License-Identifier: Apache-2.0
// The products of an expert for up to eight tokens, a warp at a time: two row tiles of 16 rows (w1
// and w3, or two neighbours of w2) against the rows of up to eight (token, expert) pairs.
//
// Weights go from device memory straight into registers, as operand A of m16n8k16; the pairs are
// its eight columns. A warp walks over units of four slots, a slot being 2 KB: two loads of each
// tile, 128 columns of FP4 or 64 of FP8. Two slots are always under way, also across the end of a
// unit. A unit's activations are quantised (act_quant) by the warp that needs them, into shared
// memory, while the unit's weights arrive.
//
// Exact products, fp32 sums: an FP4 group of 32 columns from zero, times 2^sw; four of those, times
// 2^sx, are added to the sum; FP8 the same with 64 columns from zero. E2M1 is kept 2^14 too small
// until the end (kFp4HalfScale). Columns of the product beyond the last pair repeat that pair.
// Internal to kernels/moe. Source: kernels/gemm/fragment_order.h.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/tensor.h"
#include "kernels/gemm/dequant.cuh"
#include "kernels/gemm/fragment_order.h"
#include "kernels/ptx/bulk_prefetch.cuh"
#include "kernels/ptx/load.cuh"
#include "kernels/ptx/mma.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kColumns = 8;                              // pairs of one product
inline constexpr int kUnitSlots = 4;                            // of a unit
inline constexpr int kSlotsAhead = 2;                           // under way
inline constexpr int kSlotLoads = 2;                            // of each tile
inline constexpr int kSlotBytes = kSlotLoads * kWarpLoadBytes;  // of each tile
inline constexpr int kStagedColumns = 512;                      // of a unit, at most
// A staged row; 64 bytes more than a multiple of 128, so that eight lanes read eight bank groups.
inline constexpr int kStagedRow = kStagedColumns + 64;
inline constexpr int kGroupColumns = 128;  // under one activation scale

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

// Up to four slots of two tiles.
struct Unit {
  const uint8_t* codes[2] = {};   // this lane's, of the first load
  const uint8_t* scales[2] = {};  // of the first group
  int slots = 0;
  int column = 0;  // the first one
  bool fp4 = false;
};

// Unit of expert `e` from `slot` on, at most `slots` of them, of row tile `tile[i]` of `set[i]`.
__device__ __forceinline__ Unit MakeUnit(const MatrixSet& set0, const MatrixSet& set1, int64_t e,
                                         int tile0, int tile1, int slot, int slots) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  Unit unit;
  unit.fp4 = set0.fp4;
  unit.slots = slots < kUnitSlots ? slots : kUnitSlots;
  unit.column = slot * (set0.fp4 ? kGroupColumns : kGroupColumns / 2);
  const int group = unit.column / kGroupColumns;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const MatrixSet& set = i == 0 ? set0 : set1;
    const int tile = i == 0 ? tile0 : tile1;
    const uint8_t* base = set.prepared + e * set.stride;
    unit.codes[i] =
        base + (int64_t{tile} * set.loads + slot * kSlotLoads) * kWarpLoadBytes + lane * kLoadBytes;
    // FP4: 64 bytes a group of a row tile; FP8: a byte a group of eight row tiles.
    unit.scales[i] = base + set.scale_offset +
                     (set.fp4 ? (int64_t{tile} * set.groups + group) * 64 + 4 * lane
                              : int64_t{tile / 8} * set.groups + group);
  }
  return unit;
}

// Activations of one unit in shared memory, one warp's own.
struct Staged {
  uint8_t* codes = nullptr;  // [pairs][kStagedRow], see StageRows for the order
  float* scales = nullptr;   // [unit's groups][kColumns]

  static constexpr int64_t Bytes(int64_t rows) {
    return rows * kStagedRow + int64_t{sizeof(float)} * kUnitSlots * kColumns;
  }
  __device__ Staged(uint8_t* shared, int rows)
      : codes(shared), scales(reinterpret_cast<float*>(shared + rows * kStagedRow)) {}
};

__device__ __forceinline__ uint32_t MaxMagnitude(uint32_t a, uint32_t b) {
  uint32_t m;
  asm("max.bf16x2 %0, %1, %2;" : "=r"(m) : "r"(a), "r"(b & 0x7FFF7FFFu));
  return m;
}

// Sixteen values to codes.
__device__ __forceinline__ void Codes16(const uint32_t (&pairs)[8], float inverse, bool nan,
                                        uint32_t (&codes)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t low =
        PackE4M3(LowBf16(pairs[2 * i]) * inverse, HighBf16(pairs[2 * i]) * inverse);
    const uint32_t high =
        PackE4M3(LowBf16(pairs[2 * i + 1]) * inverse, HighBf16(pairs[2 * i + 1]) * inverse);
    codes[i] = nan ? 0x7F7F7F7Fu : low | (high << 16);
  }
}

// Quantises columns column .. column + n of rows index_j (held by lane j) of x[., stride] for
// j < pairs. A row's codes stand in the order in which a lane of the product reads them: 16 bytes
// are columns 8c .. 8c+7 of one tile of 32, and of the next.
__device__ __forceinline__ void StageRows(const Bf16* x, int64_t stride, int index, int pairs,
                                          const Unit& unit, const Staged& staged) {
  constexpr int kPiece = 16, kLanesOfGroup = kGroupColumns / kPiece;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int shift = unit.fp4 ? 5 : 4;  // 32 or 16 pieces a row
  const int pieces = unit.slots << (unit.fp4 ? 3 : 2);
  __syncwarp();  // the unit before has been read
#pragma unroll 1
  for (int first = 0; first < pairs << shift; first += 32) {
    const int j = (first + lane) >> shift, piece = (first + lane) & ((1 << shift) - 1);
    const int row = __shfl_sync(0xFFFFFFFFu, index, j % kColumns);
    const bool on = j < pairs && piece < pieces;
    uint32_t v[8] = {};
    if (on) {
      const Bf16* from = x + row * stride + unit.column + kPiece * piece;
      const uint4 a = *reinterpret_cast<const uint4*>(from);
      const uint4 b = *reinterpret_cast<const uint4*>(from + kPiece / 2);
      v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
      v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    }
    uint32_t m = 0;
#pragma unroll
    for (const uint32_t pair : v) m = MaxMagnitude(m, pair);
#pragma unroll
    for (int offset = kLanesOfGroup / 2; offset > 0; offset /= 2) {
      m = MaxMagnitude(m, __shfl_xor_sync(0xFFFFFFFFu, m, offset));
    }
    const float a = fmaxf(fmaxf(LowBf16(m), HighBf16(m)), kE4M3Floor);
    const Ue8m0 scale = ScaleOf(a, kInverse448);
    uint32_t codes[4];
    Codes16(v, InverseScale(scale), scale.bits == 0xFF, codes);
    if (on) {
      uint8_t* to =
          staged.codes + j * kStagedRow + 64 * (piece / 4) + 32 * (piece % 2) + 8 * (piece / 2 % 2);
      *reinterpret_cast<uint2*>(to) = make_uint2(codes[0], codes[1]);
      *reinterpret_cast<uint2*>(to + 16) = make_uint2(codes[2], codes[3]);
      if (piece % kLanesOfGroup == 0) {
        staged.scales[piece / kLanesOfGroup * kColumns + j] = ToFloat(scale);
      }
    }
  }
  __syncwarp();
}

// The weights on their way.
struct TilePair {
  uint4 buffer[kSlotsAhead][2 * kSlotLoads];  // load l of tile i at 2·i + l
  uint32_t words[2][2];                       // scales of the unit, by tile

  // Slot b of what is left from `codes` on.
  __device__ __forceinline__ void Load(const uint8_t* codes0, const uint8_t* codes1, int left,
                                       int b) {
    if (b >= left) return;
#pragma unroll
    for (int l = 0; l < kSlotLoads; ++l) {
      buffer[b][l] = ptx::LoadStream(codes0 + b * kSlotBytes + l * kWarpLoadBytes);
      buffer[b][kSlotLoads + l] = ptx::LoadStream(codes1 + b * kSlotBytes + l * kWarpLoadBytes);
    }
  }

  // FP4: word w of the unit's (16 rows of group 0, of group 1 …) is in lane w % 32 of [w / 32];
  // FP8: the byte of group i in [i], of all lanes.
  __device__ __forceinline__ void LoadWords(const Unit& unit, int from, int to) {
    const int first = 2 * from + (unit.fp4 ? static_cast<int>(threadIdx.x) % 32 / 16 : 0);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      words[i][to] = 0;
      if (first >= unit.slots) continue;
      words[i][to] = unit.fp4
                         ? __ldg(reinterpret_cast<const uint32_t*>(unit.scales[i] + 128 * from))
                         : __ldg(unit.scales[i] + from);
    }
  }

  __device__ __forceinline__ void Start(const Unit& unit) {
    LoadWords(unit, 0, 0);
    LoadWords(unit, 1, 1);
#pragma unroll
    for (int b = 0; b < kSlotsAhead; ++b) Load(unit.codes[0], unit.codes[1], unit.slots, b);
  }

  // Asks for what follows of `slots` slots, of which `unit` is the beginning, to be in L2.
  static __device__ __forceinline__ void PrefetchRest(const Unit& unit, int slots) {
    if (threadIdx.x % 32 != 0 || slots <= kSlotsAhead) return;
    const auto bytes = static_cast<uint32_t>((slots - kSlotsAhead) * kSlotBytes);
    ptx::PrefetchL2Bulk(unit.codes[0] + kSlotsAhead * kSlotBytes, bytes);
    ptx::PrefetchL2Bulk(unit.codes[1] + kSlotsAhead * kSlotBytes, bytes);
  }

  // Adds the products of `unit`, which is under way, and sets `next` on its way.
  __device__ __forceinline__ void Run(const Unit& unit, const Unit& next, int pairs,
                                      const Staged& staged, float (&sum)[2][4]);
};

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

// 128 columns of FP4; `codes` is this lane's part of its column's staged row.
__device__ __forceinline__ void AddFp4(const uint4 (&buffer)[2 * kSlotLoads],
                                       const uint32_t (&words)[2], int half, const uint8_t* codes,
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
    const uint2 v = *reinterpret_cast<const uint2*>(codes + 64 * (k / 2) + 8 * (k % 2));
    uint32_t b[4];
    HalvesOfFp8({v.x, v.y}, b);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4& u = buffer[kSlotLoads * i + k / 2];
      uint32_t low[4], high[4];
      HalvesOfFp4(k % 2 == 0 ? u.x : u.z, low);
      HalvesOfFp4(k % 2 == 0 ? u.y : u.w, high);
      float d[4];
      MmaF16FromZero(d, {low[0], high[0], low[1], high[1]}, {b[0], b[1]});
      ptx::MmaF16(d, {low[2], high[2], low[3], high[3]}, {b[2], b[3]});
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
                                       const uint32_t (&bytes)[2], const uint8_t* codes,
                                       float2 scale, float (&sum)[2][4]) {
  const uint4 v = *reinterpret_cast<const uint4*>(codes);
  uint32_t b[2][4];
  HalvesOfFp8({v.x, v.y}, b[0]);
  HalvesOfFp8({v.z, v.w}, b[1]);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float d[4] = {};
#pragma unroll
    for (int k = 0; k < 2; ++k) {  // tiles of 32 columns
      const uint4& u = buffer[kSlotLoads * i + k];
      uint32_t low[4], high[4];
      HalvesOfFp8({u.x, u.y}, low);
      HalvesOfFp8({u.z, u.w}, high);
      ptx::MmaF16(d, {low[0], high[0], low[1], high[1]}, {b[k][0], b[k][1]});
      ptx::MmaF16(d, {low[2], high[2], low[3], high[3]}, {b[k][2], b[k][3]});
    }
    const float s = ScaleByte(bytes[i], 0);
    sum[i][0] += d[0] * (s * scale.x);
    sum[i][1] += d[1] * (s * scale.y);
    sum[i][2] += d[2] * (s * scale.x);
    sum[i][3] += d[3] * (s * scale.y);
  }
}

__device__ __forceinline__ void TilePair::Run(const Unit& unit, const Unit& next, int pairs,
                                              const Staged& staged, float (&sum)[2][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, c = lane % 4;
  const uint8_t* row = staged.codes + (g < pairs ? g : pairs - 1) * kStagedRow + 16 * c;
  const uint8_t* codes0 = unit.codes[0] + kSlotsAhead * kSlotBytes;
  const uint8_t* codes1 = unit.codes[1] + kSlotsAhead * kSlotBytes;
  int left = unit.slots - kSlotsAhead;
#pragma unroll 1
  for (int pass = 0; pass < kUnitSlots / kSlotsAhead; ++pass) {
    const uint32_t pass_words[2] = {words[0][0], words[1][0]};
#pragma unroll
    for (int b = 0; b < kSlotsAhead; ++b) {
      const int slot = kSlotsAhead * pass + b;
      if (slot < unit.slots) {
        const int group = unit.fp4 ? slot : slot / 2;
        const float2 scale =
            *reinterpret_cast<const float2*>(staged.scales + group * kColumns + 2 * c);
        if (unit.fp4) {
          AddFp4(buffer[b], pass_words, b, row + kGroupColumns * slot, scale, sum);
        } else {
          AddFp8(buffer[b], pass_words, row + kGroupColumns / 2 * slot, scale, sum);
        }
      }
      Load(codes0, codes1, left, b);
    }
    codes0 = next.codes[0];
    codes1 = next.codes[1];
    left = next.slots;
    words[0][0] = words[0][1];
    words[1][0] = words[1][1];
    LoadWords(next, pass, 1);
  }
}

}  // namespace tandem::kernels::cuda
