// SPDX-License-Identifier: Apache-2.0
// Which tiles a product of many tokens is cut into. Pure. Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/gemm/tile_turns.h"

namespace tandem::kernels::cuda {

struct TileChoice {
  int rows, tokens;  // of a tile
  int a_processor;   // tiles at once
  int time;          // that these take, whatever the unit
};

// 256 rows by 128 tokens do the most with a byte of shared memory; where rounds of them would leave
// processors idle, other tiles win although a product costs more there. Times as on H100.
inline constexpr TileChoice kTileChoices[] = {
    {256, 128, 1, 64}, {256, 112, 1, 57}, {256, 96, 1, 50}, {128, 64, 2, 42}, {128, 32, 2, 30}};

// A product: groups·group_rows rows of weights, tokens; and the machine.
struct TileRoom {
  int group_rows, groups, tokens, processors;
};

// `halves`: the largest tiles may be of two blocks.
constexpr TileTurns TurnsOf(const TileRoom& room, const TileChoice& c, bool halves) {
  const int tiles = (room.group_rows + c.rows - 1) / c.rows * room.groups *
                    ((room.tokens + c.tokens - 1) / c.tokens);
  return {
      .count = tiles, .blocks = room.processors * c.a_processor, .halves = halves && c.rows == 256};
}

constexpr TileChoice BestTile(const TileRoom& room, bool halves) {
  TileChoice best = {};
  int64_t least = 0;
  for (const TileChoice& c : kTileChoices) {
    const int64_t time = int64_t{TurnsOf(room, c, halves).Time()} * c.time;
    if (best.rows == 0 || time < least) best = c, least = time;
  }
  return best;
}

}  // namespace tandem::kernels::cuda
