// SPDX-License-Identifier: Apache-2.0
// Fragment order: how the CUDA table keeps a weight, so that each lane of a warp gets its part of a
// matrix product's operand with one 16-byte load, straight into registers.
//
// The matrix W[N,K] is cut into tiles of 16 rows and 32 columns. In a tile, lane 4·g + c (g = 0..7,
// c = 0..3) owns two units of eight codes: columns 8c .. 8c+7 of row g, and of row g + 8. Tiles
// follow each other along K, then along N; K is filled up to whole loads and N to 16 with zeros.
//   kFp8   one load a tile:  unit of row g (8 bytes) | unit of row g+8
//   kFp4   one load for two tiles, first tile first: unit of row g (4 bytes) | of row g+8
//   kBf16  two loads a tile; load j: codes 4j .. 4j+3 of the unit of row g | of row g+8
// In a 4-byte unit of kFp4, codes 0..3 have bytes 0, 2, 1, 3, their sign in bit 7 and the rest in
// bits 3..1; codes 4..7 share those bytes, sign in bit 0, the rest in bits 6..4. A pair of
// neighbouring columns then stands 16 bits apart, where a 16-bit pair wants it, and half of the
// codes stand as f16 has them: nine instructions unpack eight (dequant.cuh).
//
// The product may take the columns of a tile in any order that both operands share. Step j = 0, 1
// of m16n8k16 takes codes 4j .. 4j+3 of every unit: a0, a2 = codes (4j, 4j+1), (4j+2, 4j+3) of row
// g; a1, a3 of row g + 8; b0, b1 the same columns of an activation. m16n8k32 of 8-bit codes takes a
// whole tile: a0, a2 = codes 0..3, 4..7 of row g; a1, a3 of row g + 8.
//
// Behind the codes, at FragmentScaleOffset, stand the scales: kFp8 as in the checkpoint,
// [N/128, K/128]; kFp4 [N/16, K/128, 16 rows, 4]: the four scales of 128 columns of a row are a
// word. Pure functions. Source: PTX ISA 9.0, fragments of mma.m16n8k16 and m16n8k32.
#pragma once

#include <cstdint>

#include "kernels/common/host_device.h"
#include "kernels/gemm/linear_weight.h"

namespace tandem::kernels {

// Rises with every change of the order: processes of two builds may share one copy of the weights.
inline constexpr int kFragmentOrderVersion = 1;

inline constexpr int kTileRows = 16;
inline constexpr int kTileColumns = 32;
inline constexpr int kUnitCodes = 8;
inline constexpr int kLoadBytes = 16;                   // a lane
inline constexpr int kWarpLoadBytes = 32 * kLoadBytes;  // a warp

TANDEM_HOST_DEVICE constexpr int CodeBits(WeightFormat format) {
  return format == WeightFormat::kBf16 ? 16 : format == WeightFormat::kFp8 ? 8 : 4;
}
// Columns that one load of a warp covers: 64, 32, 16.
TANDEM_HOST_DEVICE constexpr int LoadColumns(WeightFormat format) {
  return 8 * kWarpLoadBytes / CodeBits(format) / kTileRows;
}
// Loads along K, the last one filled up; a whole number of tiles.
TANDEM_HOST_DEVICE constexpr int64_t LoadsPerRow(WeightFormat format, int64_t k) {
  const int64_t step = LoadColumns(format) > kTileColumns ? LoadColumns(format) : kTileColumns;
  return (k + step - 1) / step * step / LoadColumns(format);
}
TANDEM_HOST_DEVICE constexpr int64_t RowTiles(int64_t n) {
  return (n + kTileRows - 1) / kTileRows;
}
TANDEM_HOST_DEVICE constexpr int64_t FragmentScaleOffset(WeightFormat format, int64_t n,
                                                         int64_t k) {
  return RowTiles(n) * LoadsPerRow(format, k) * kWarpLoadBytes;
}

// Code i of a unit of kFp4, in its place there.
TANDEM_HOST_DEVICE constexpr uint32_t Fp4InUnit(uint32_t code, int i) {
  const uint32_t sign = code >> 3, rest = code & 7u;
  const uint32_t byte = i < 4 ? sign << 7 | rest << 1 : rest << 4 | sign;
  return byte << (8 * (i % 2 * 2 + i / 2 % 2));
}

// Where the code of W[row, column] stands (kFp4: its unit): bit offset from the start of the codes.
TANDEM_HOST_DEVICE constexpr int64_t FragmentBit(WeightFormat format, int64_t k, int64_t row,
                                                 int64_t column) {
  const int64_t tile = column / kTileColumns;
  const int lane = static_cast<int>(4 * (row % 8) + column % kTileColumns / kUnitCodes);
  const int half = static_cast<int>(row / 8 % 2);  // 0: row g, 1: row g + 8
  const int code = static_cast<int>(column % kUnitCodes);
  int64_t load = 0;
  int bit = 0;  // in the lane's 16 bytes
  if (format == WeightFormat::kFp8) {
    load = tile;
    bit = 64 * half + 8 * code;
  } else if (format == WeightFormat::kFp4) {
    load = tile / 2;
    bit = 64 * static_cast<int>(tile % 2) + 32 * half;
  } else {
    load = 2 * tile + code / 4;
    bit = 64 * half + 16 * (code % 4);
  }
  const int64_t loads = row / kTileRows * LoadsPerRow(format, k) + load;
  return 8 * (loads * kWarpLoadBytes + lane * kLoadBytes) + bit;
}

// Where the scale of an FP4 group stands, in bytes from the start of the scales.
TANDEM_HOST_DEVICE constexpr int64_t Fp4ScaleByte(int64_t k, int64_t row, int64_t column) {
  return (row / kTileRows * (k / 128) + column / 128) * 64 + row % kTileRows * 4 + column / 32 % 4;
}

}  // namespace tandem::kernels
