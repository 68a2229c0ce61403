// SPDX-License-Identifier: Apache-2.0
// Sizes of a tile (tile_gemm.cuh), and where its block finds weights and tokens.
// Internal to kernels/gemm and kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/gemm/fragment_order.h"

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

}  // namespace tandem::kernels::cuda
