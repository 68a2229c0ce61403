// SPDX-License-Identifier: Apache-2.0
// w2 of an expert on a tile of gates. Internal to kernels/moe.
#pragma once

#include "kernels/gemm/tile_store.cuh"
#include "kernels/moe/grouped_product.cuh"

namespace tandem::kernels::cuda {

// 256 rows of w2 of one expert.
template <class Shape>
__device__ __forceinline__ void DownTile(uint8_t* shared, const Matrix& w, int64_t expert,
                                         const TileRows& tile, const TokenMatrix& x, Bf16* out) {
  using Operands = OperandsOf<Shape>;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int row = (static_cast<int>(blockIdx.x) * kTileWarps + warp) * 2 * kTileRows;
  WeightRows<2> rows;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    // A tile behind the last is not stored: any that exists will do.
    SetRowTile<Shape>(rows, m, w.prepared + expert * w.stride, w.n, w.k,
                      min(static_cast<int64_t>(row / kTileRows + m), RowTiles(w.n) - 1));
  }
  typename Shape::Sums sums = {};
  TileProduct<Shape> product(shared, rows, Tokens<Shape>(tile, x), static_cast<int>(w.k));
  RunTile<Shape>(tile.rows, product, sums);
#pragma unroll
  for (int j = 0; j < Shape::kBlocks; ++j) {
    if (8 * j >= tile.rows) break;
    uint32_t pairs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      pairs[i] = PackBf16(Operands::Finish(sums[i / 2][j][i % 2 * 2]),
                          Operands::Finish(sums[i / 2][j][i % 2 * 2 + 1]));
    }
    StoreTokens(shared + warp * kStoreBytes + j % 2 * 512, pairs,
                out + int64_t{tile.begin + 8 * j} * w.n + row, w.n, tile.rows - 8 * j,
                static_cast<int>(w.n) - row);
  }
}

// blockIdx.x: 256 rows; blockIdx.y: a tile.
template <TileMath kMath, int kTokens>
__global__ void __launch_bounds__(kTileThreads, kBlocksAtOnce<kMath, kTokens>)
    DownKernel(GroupedProduct p) {
  extern __shared__ __align__(128) uint8_t shared[];
  ptx::GridDependencyWait();
  const int y = static_cast<int>(blockIdx.y);
  if (y < p.shared_tiles) {
    const TileRows tile = {y * kTokens, min(kTokens, p.tokens - y * kTokens), nullptr};
    DownTile<TileShape<kMath, kShared, 2, kTokens>>(shared, p.shared[0], 0, tile, p.shared_x,
                                                    p.shared_out);
    return;
  }
  if (y - p.shared_tiles >= *p.rows.tile_count) return;
  const MoeTile t = p.rows.tiles[y - p.shared_tiles];
  DownTile<TileShape<kMath, kRouted, 2, kTokens>>(shared, p.routed[0], t.expert,
                                                  {t.begin, t.rows, nullptr}, p.x, p.out);
}

template <TileMath kMath, int kTokens>
void LaunchDownTiles(const GroupedProduct& product, Stream& stream) {
  Launch({.name = "moe w2",
          .grid = dim3(Blocks(product.routed[0].n, 2 * kTileWarps * kTileRows),
                       static_cast<unsigned>(product.shared_tiles + product.most_tiles)),
          .threads = kTileThreads,
          .shared_bytes = SharedBytes<kMath, kTokens>()},
         stream, DownKernel<kMath, kTokens>, product);
}

template <TileMath kMath>
void LaunchDown(int tile_tokens, const GroupedProduct& product, Stream& stream) {
  (tile_tokens == kFewTokens ? LaunchDownTiles<kMath, kFewTokens>
                             : LaunchDownTiles<kMath, kManyTokens>)(product, stream);
}

}  // namespace tandem::kernels::cuda
