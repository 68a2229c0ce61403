// SPDX-License-Identifier: Apache-2.0
// The shape of a block's tile and where its parts lie: weights in fragment order, tokens by piece,
// codes to bf16. What tile_gemm.cuh multiplies. Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/gemm/dequant.cuh"
#include "kernels/gemm/fragment_order.h"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/mma.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kTileWarps = 8;
inline constexpr int kTileThreads = 32 * kTileWarps;
inline constexpr int kTokenTileBytes = 2 * kTileColumns;  // of one token in one k32 tile
inline constexpr int kMostStages = 6;                     // more do not help

template <WeightFormat kFormat_, int kRowTiles_, int kTokens_>
struct TileShape {
  static constexpr WeightFormat kFormat = kFormat_;
  static constexpr int kRowTiles = kRowTiles_;  // a warp
  static constexpr int kTokens = kTokens_;
  static constexpr int kBlocks = kTokens / 8;
  static constexpr int kRows = kTileWarps * kRowTiles * kTileRows;
  static constexpr int kStageTiles = kFormat == WeightFormat::kBf16 ? 1 : 2;  // k32 tiles
  static constexpr int kLoads = kStageTiles * kTileColumns / LoadColumns(kFormat);
  static constexpr int kCodeBytes = kTileWarps * kRowTiles * kLoads * kWarpLoadBytes;
  static constexpr int kScaleBytes =
      kFormat == WeightFormat::kFp4 ? kTileWarps * kRowTiles * 64 : 0;
  static constexpr int kTokenBytes = kStageTiles * kTokens * kTokenTileBytes;
  static constexpr int kStageBytes = kCodeBytes + kScaleBytes + kTokenBytes;
  // 99 KB a block at most; half of it where SM120's 100 KB shall hold two.
  static constexpr int kStagesBytes = kRowTiles == 1 ? 49152 : 98304;
  static constexpr int kStages =
      kStagesBytes / kStageBytes < kMostStages ? kStagesBytes / kStageBytes : kMostStages;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  // 16-byte pieces of one k32 tile's tokens, and how many of them a thread copies.
  static constexpr int kPieces = kTokens * 4;
  static constexpr int kSlots = kPieces > kTileThreads ? kPieces / kTileThreads : 1;
  // Two blocks a multiprocessor where registers allow: one loads while the other ends.
  static constexpr int kBlocksPerProcessor = kRowTiles * kTokens <= 64 ? 2 : 1;
  // Blocks of tokens multiplied at a time: as many as registers hold twice.
  static constexpr int kGroup = kTokens > 32 ? 4 : 2;
  static_assert(kStages >= 3);

  using Sums = float[kRowTiles][kBlocks][4];
};

// Where a lane finds the codes and scales of its warp's row tiles.
template <int kRowTiles>
struct WeightRows {
  const uint8_t* codes[kRowTiles];   // the lane's 16 bytes of the first load
  const uint8_t* scales[kRowTiles];  // kFp8: the byte of the first 128 columns
  const uint8_t* piece;              // kFp4: 16 bytes of scales, of row tile lane / 4
};

// Sets row tile m to `tile` (of 16 rows, counted from the weight's start) of a prepared weight of
// n rows and k columns.
template <class Shape>
__device__ __forceinline__ void SetRowTile(WeightRows<Shape::kRowTiles>& rows, int m,
                                           const uint8_t* prepared, int64_t n, int64_t k,
                                           int64_t tile) {
  constexpr WeightFormat kFormat = Shape::kFormat;
  rows.codes[m] = prepared + tile * LoadsPerRow(kFormat, k) * kWarpLoadBytes +
                  static_cast<int>(threadIdx.x % 32) * kLoadBytes;
  const uint8_t* scales = prepared + FragmentScaleOffset(kFormat, n, k);
  if constexpr (kFormat == WeightFormat::kFp4) {
    if (threadIdx.x % 32 / 4 == m)
      rows.piece = scales + tile * (k / 128) * 64 + threadIdx.x % 4 * 16;
  } else {
    rows.scales[m] = scales + tile / 8 * (k / 128);
  }
}

// Which 16-byte pieces of its tokens a thread copies.
template <class Shape>
struct TokenRows {
  const Bf16* piece[Shape::kSlots];  // in the first k32 tile; null: no such token
};
// The token of a thread's slot, 0..kTokens-1.
template <class Shape>
__device__ __forceinline__ int TokenOfSlot(int slot) {
  return static_cast<int>(threadIdx.x) % Shape::kPieces / 4 + slot * (kTileThreads / 4);
}
__device__ __forceinline__ int OctetOfThread() {
  return static_cast<int>(threadIdx.x) % 4 * kUnitCodes;
}

// Codes are 2^40 too low times their format's offset (dequant.cuh: 2^126, 2^120).
inline constexpr int kLift = 40;
inline constexpr uint32_t kFp4Factor = 126 - kLift, kFp8Factor = 120 - kLift;
template <class Shape>
__device__ __forceinline__ float Lift(float sum) {
  return Shape::kFormat == WeightFormat::kBf16 ? sum : sum * 0x1p40f;
}

__device__ __forceinline__ void LowBf16sOfFp4(uint32_t unit, uint32_t factor,
                                              uint32_t (&pairs)[4]) {
  constexpr uint32_t kSign = 0x80008000u, kMagnitude = 0x01C001C0u;
  pairs[0] = MultiplyBf16(((unit << 12) & kSign) | ((unit << 6) & kMagnitude), factor);
  pairs[1] = MultiplyBf16(((unit << 8) & kSign) | ((unit << 2) & kMagnitude), factor);
  pairs[2] = MultiplyBf16(((unit << 4) & kSign) | ((unit >> 2) & kMagnitude), factor);
  pairs[3] = MultiplyBf16((unit & kSign) | ((unit >> 6) & kMagnitude), factor);
}

__device__ __forceinline__ void LowBf16sOfFp8(uint32_t low, uint32_t high, uint32_t factor,
                                              uint32_t (&pairs)[4]) {
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    const uint32_t wide = __byte_perm(p < 2 ? low : high, 0, p % 2 == 0 ? 0x1404 : 0x3424);
    pairs[p] = MultiplyBf16((wide & 0x80008000u) | ((wide & 0x7F007F00u) >> 4), factor);
  }
}

__device__ __forceinline__ uint4 LoadShared16(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address));
  return v;
}
__device__ __forceinline__ uint32_t LoadShared4(uint32_t address) {
  uint32_t v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address));
  return v;
}
}  // namespace tandem::kernels::cuda
