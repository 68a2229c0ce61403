// SPDX-License-Identifier: Apache-2.0
// Sizes of a tile (tile_gemm.cuh), and where its block finds weights and tokens.
// Internal to kernels/gemm and kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/gemm/fragment_order.h"
#include "kernels/gemm/mx_fragment.h"
#include "kernels/gemm/tile_math.h"

namespace tandem::kernels::cuda {

inline constexpr int kTileWarps = 8;
inline constexpr int kTileThreads = 32 * kTileWarps;
inline constexpr int kMostStages = 6;  // more do not help

template <TileMath kMath_, WeightFormat kFormat_, int kRowTiles_, int kTokens_>
struct TileShape {
  static constexpr TileMath kMath = kMath_;
  static constexpr WeightFormat kFormat = kFormat_;
  static constexpr bool kMx = kMath == TileMath::kMx;
  static constexpr int kRowTiles = kRowTiles_;  // a warp
  static constexpr int kTokens = kTokens_;
  static constexpr int kBlocks = kTokens / 8;
  static constexpr int kRows = kTileWarps * kRowTiles * kTileRows;
  // 99 KB a block at most; half of it where SM120's 100 KB shall hold two: small tiles, and those
  // of few tokens that wait for weights.
  static constexpr bool kHalf = kRowTiles == 1 || (kMx && kTokens <= 32);
  static constexpr int kStagesBytes = kHalf ? 49152 : 98304;
  // k32 tiles: two, but where three stages of them were too much.
  static constexpr int kStageTiles =
      kFormat == WeightFormat::kBf16 || (kHalf && kRowTiles > 1 && kFormat == WeightFormat::kFp8)
          ? 1
          : 2;
  static constexpr int kLoads = kStageTiles * kTileColumns / LoadColumns(kFormat);
  static constexpr int kCodeBytes = kTileWarps * kRowTiles * kLoads * kWarpLoadBytes;
  static constexpr int kScaleBytes =
      kFormat == WeightFormat::kFp4 ? kTileWarps * kRowTiles * 64 : 0;
  static constexpr int kTokenTileBytes = (kMx ? 1 : 2) * kTileColumns;  // of one token in k32
  static constexpr int kTokenBytes = kStageTiles * kTokens * kTokenTileBytes;
  static constexpr int kStageBytes = kCodeBytes + kScaleBytes + kTokenBytes;
  static constexpr int kStages =
      kStagesBytes / kStageBytes < kMostStages ? kStagesBytes / kStageBytes : kMostStages;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  // 16-byte pieces of one k32 tile's tokens, and how many of them a thread copies.
  static constexpr int kTokenPieces = kTokenTileBytes / 16;
  static constexpr int kPieces = kTokens * kTokenPieces;
  static constexpr int kSlots = kPieces > kTileThreads ? kPieces / kTileThreads : 1;
  // Two blocks a multiprocessor where registers allow: one loads while the other ends.
  static constexpr int kBlocksPerProcessor = kRowTiles * kTokens <= 64 ? 2 : 1;
  // Blocks of tokens multiplied at a time: as many as registers hold twice.
  static constexpr int kGroup = kTokens > 32 ? 4 : 2;
  static_assert(kStages >= 3);
  // As many scales as the selectors of one operand reach.
  static_assert(!kMx || (kFormat != WeightFormat::kBf16 && kRowTiles <= 2 && kTokens <= 128));

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

// Rows of tokens in device memory: bf16, or E4M3 with UE8M0 per 128 columns.
struct TokenMatrix {
  const uint8_t* x;      // of row 0
  const uint8_t* scale;  // of row 0; null for bf16
  int64_t row_bytes;     // from row to row
  int64_t scale_bytes;
};

inline constexpr int kLaneScales = 4;

// Where a thread finds its part of a tile's tokens.
template <class Shape>
struct TokenRows {
  // The 16-byte pieces that it copies, in the first k32 tile; null: no such token.
  const uint8_t* piece[Shape::kSlots];
  // kMx: scales of the first 128 columns of the tokens MxScaleToken(lane, i).
  const uint8_t* scale;
  uint32_t scale_row[kLaneScales];  // offsets from there
};

// row_of(i): the row of a tile's token i, for i < rows.
template <class Shape, class RowOf>
__device__ __forceinline__ TokenRows<Shape> TokensOf(const TokenMatrix& matrix, int rows,
                                                     const RowOf& row_of) {
  TokenRows<Shape> tokens;
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int slot = 0; slot < Shape::kSlots; ++slot) {
    const int i =
        thread % Shape::kPieces / Shape::kTokenPieces + slot * (kTileThreads / Shape::kTokenPieces);
    tokens.piece[slot] = i < rows ? matrix.x + int64_t{row_of(i)} * matrix.row_bytes +
                                        thread % Shape::kTokenPieces * 16
                                  : nullptr;
  }
  if constexpr (Shape::kMx) {
    tokens.scale = matrix.scale;
#pragma unroll
    for (int i = 0; i < kLaneScales; ++i) {
      // Columns of the product do not mix: any scale will do for a token behind the last.
      const int token = min(MxScaleToken(thread % 32, i), rows - 1);
      tokens.scale_row[i] = static_cast<uint32_t>(row_of(token) * matrix.scale_bytes);
    }
  }
  return tokens;
}

}  // namespace tandem::kernels::cuda
