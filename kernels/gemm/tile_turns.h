// SPDX-License-Identifier: Apache-2.0
// Which tiles a block of a ring (tile_ring.cuh) takes, and tiles of two blocks.
//
// A block takes every so many-th tile. Where whole rounds leave few tiles over, two blocks have
// half of K each of such a tile: one begins with the first half and leaves its sums
// (tile_shared.cuh); the other goes on from them when its own tiles are done. No bit of a sum
// depends on it. The second half waits for a block of a lower index, which has begun before and
// waits for nobody. Pure. Internal to kernels/gemm.
#pragma once

#include "kernels/common/host_device.h"

namespace tandem::kernels::cuda {

enum class TileHalf { kWhole, kFirst, kSecond };

struct TileTurns {
  int count, blocks;  // of tiles; blocks that take them
  bool halves;        // may be

  // Tiles of which each has two blocks; 0: all tiles have one.
  TANDEM_HOST_DEVICE constexpr int Shared() const {
    const int over = count % blocks;
    return halves && count > blocks && 2 * over <= blocks ? over : 0;
  }
  // How long all take, in halves of a tile.
  TANDEM_HOST_DEVICE constexpr int Time() const {
    return Shared() > 0 ? 2 * (count / blocks) + 1 : 2 * ((count + blocks - 1) / blocks);
  }
  // Calls take(tile, half) for a block's tiles in their order.
  template <class Take>
  __device__ __forceinline__ void ForEach(int block, const Take& take) const {
    const int shared = Shared(), whole = count - shared;
    int next = block;
    bool first = block < shared, second = !first && block < 2 * shared;
    while (first || second || next < whole) {
      int tile = next;
      TileHalf half = TileHalf::kWhole;
      if (first) {
        tile = whole + block, half = TileHalf::kFirst, first = false;
      } else if (next < whole) {
        next += blocks;
      } else {
        tile = whole + block - shared, half = TileHalf::kSecond, second = false;
      }
      take(tile, half);
    }
  }
};

}  // namespace tandem::kernels::cuda
