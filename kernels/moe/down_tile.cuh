// SPDX-License-Identifier: Apache-2.0
// w2 of an expert on a tile of gates: a Part of grouped_product.cuh. Internal to kernels/moe.
#pragma once

#include "kernels/gemm/tile_store.cuh"
#include "kernels/moe/grouped_product.cuh"

namespace tandem::kernels::cuda {

struct Down {
  static constexpr int kBlockRows = 2 * kTileWarps * kTileRows;
  static constexpr bool kByToken = false;
  template <int>
  static constexpr int kExtraBytes = 0;
  template <int>
  static __device__ __forceinline__ void Clear(uint8_t*) {}

  // A tile behind the last is not stored: any that exists will do.
  static __device__ __forceinline__ RowTile RowTileAt(const Matrix (&w)[2], int row_block, int i) {
    return {w[0], min(int64_t{row_block} * 2 * kTileWarps + i, RowTiles(w[0].n) - 1)};
  }

  template <class Shape>
  static __device__ __forceinline__ void Store(const GroupedProduct& p, const GroupedTile& tile,
                                               const StoreMemory&, typename Shape::Sums& sums) {
    using Operands = OperandsOf<Shape>;
    const int64_t n = tile.weights(p)[0].n;
    const int row =
        (tile.row_block * kTileWarps + static_cast<int>(threadIdx.x) / 32) * 2 * kTileRows;
    Bf16* const out = (tile.shared ? p.shared_out : p.out) + tile.rows.begin * n + row;
#pragma unroll
    for (int first = 0; first < Shape::kBlocks; first += kStoreBlocks) {
      if (8 * first >= tile.rows.rows) break;
      uint32_t pairs[kStoreBlocks][4];
#pragma unroll
      for (int i = 0; i < 4 * kStoreBlocks; ++i) {
        const float(&sum)[4] = sums[i % 4 / 2][first + i / 4];
        pairs[i / 4][i % 4] =
            PackBf16(Operands::Finish(sum[i % 2 * 2]), Operands::Finish(sum[i % 2 * 2 + 1]));
      }
      StoreTokens(pairs, out + 8 * first * n, n, tile.rows.rows - 8 * first,
                  static_cast<int>(n) - row);
    }
  }
};

template <TileMath kMath>
void LaunchDown(int tile_tokens, const GroupedProduct& product, Stream& stream) {
  LaunchGrouped<Down, kMath>("moe w2", tile_tokens, product, stream);
}

}  // namespace tandem::kernels::cuda
