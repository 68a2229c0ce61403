// SPDX-License-Identifier: Apache-2.0
// From fragment order (fragment_order.h) to the operands of the block-scaled product
// (kernels/ptx/mma_block_scale.h), whose rows are outputs and whose columns are tokens.
//
// A lane's unit of eight codes of a tile of 32 columns is the operand as it stands: codes 0..3 in
// one register, 4..7 in the other, for weights and tokens alike. FP4 codes are spread to bytes.
// Scale operands use the instruction's selectors, so that one register serves many products:
//
//   weights  row tile m = 0, 1: thread m; FP4: k32 tile i of 128 columns: byte i
//   tokens   of block j = 0..15 of eight tokens: byte j % 4, thread j / 4
//
// Pure functions.
#pragma once

#include <cstdint>

#include "kernels/common/host_device.h"
#include "kernels/gemm/linear_weight.h"
#include "kernels/ptx/mma_block_scale.h"

namespace tandem::kernels {

// A unit of FP4 codes, in fragment order's places, to bytes with the code in bits 5..2.
// permute(low, high, selector): byte n of the result is byte (selector >> 4n) & 7 of {high, low}.
struct MxUnit {
  uint32_t word[2];  // codes 0..3, 4..7
};
template <class Permute>
TANDEM_HOST_DEVICE constexpr MxUnit SpreadFp4(uint32_t unit, const Permute& permute) {
  constexpr uint32_t kSigns = 0x20202020u, kRest = 0x1C1C1C1Cu;
  const uint32_t right = unit >> 2;
  const uint32_t first = (right & kSigns) | (unit << 1 & kRest);
  const uint32_t others = (unit << 5 & kSigns) | (right & kRest);
  return {{permute(first, 0u, 0x3120u), permute(others, 0u, 0x3120u)}};
}

// A lane's load of sixteen bytes (its words) as operand A of a tile of 32 columns: of the tile of
// kFp8, of tile 0 or 1 of kFp4.
struct MxRows {
  uint32_t word[4];
};
template <WeightFormat kFormat, class Permute>
TANDEM_HOST_DEVICE constexpr MxRows MxRowsOf(const uint32_t (&load)[4], int tile,
                                             const Permute& permute) {
  if constexpr (kFormat == WeightFormat::kFp8) {
    return {{load[0], load[2], load[1], load[3]}};
  } else {
    const MxUnit low = SpreadFp4(load[2 * tile], permute);
    const MxUnit high = SpreadFp4(load[2 * tile + 1], permute);
    return {{low.word[0], high.word[0], low.word[1], high.word[1]}};
  }
}

// The row whose scale a lane holds, of which row tile: rows g and g + 8 of tile m are lanes
// 4g + 2m and 4g + 2m + 1.
TANDEM_HOST_DEVICE constexpr int MxScaleTile(int lane) {
  return lane % 4 / 2;
}
TANDEM_HOST_DEVICE constexpr int MxScaleRow(int lane) {
  return lane / 4 + 8 * (lane % 2);
}

// The token whose scale a lane holds in byte i, counted from the tile's first token.
TANDEM_HOST_DEVICE constexpr int MxScaleToken(int lane, int i) {
  return 8 * (4 * (lane % 4) + i) + lane / 4;
}

// Selectors of row tile m, byte `byte` of its scales, and block j of tokens.
TANDEM_HOST_DEVICE constexpr ptx::ScaleSelect MxSelect(int m, int byte, int j) {
  return {.byte_a = byte, .thread_a = m, .byte_b = j % 4, .thread_b = j / 4};
}

}  // namespace tandem::kernels
