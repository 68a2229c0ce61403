// SPDX-License-Identifier: Apache-2.0
// The two products of moe_experts grouped by expert (moe_tiles.h), and what their tiles share:
//
//   x rows --w1, w3--> gates, quantised (gate_tile.cuh) --w2--> out (down_tile.cuh)
//
// A block takes a tile of one expert, or of the shared one: blockIdx.y says which, blockIdx.x which
// rows of the weights. Each product with each TileMath is a translation unit of its own: they are
// the longest to compile. Internal to kernels/moe.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/gemm/tile_gemm.cuh"
#include "kernels/gemm/tile_ring.cuh"
#include "kernels/moe/moe_tiles.h"

namespace tandem::kernels::cuda {

inline constexpr int kFewTokens = 32, kManyTokens = 128;  // of a tile

inline constexpr WeightFormat kRouted = WeightFormat::kFp4, kShared = WeightFormat::kFp8;

// Prepared weights, `stride` bytes from one expert to the next.
struct Matrix {
  const uint8_t* prepared = nullptr;
  int64_t stride = 0;
  int64_t n = 0, k = 0;
};

struct GroupedProduct {
  Matrix routed[2], shared[2];  // w1 and w3; or w2
  MoeRows rows;
  TokenMatrix x;         // routed input; rows are tokens (w1, w3) or pairs (w2)
  TokenMatrix shared_x;  // [tokens, …]
  // Results [pairs, n], [tokens, n]: quantised gates, or of w2.
  QuantisedRows gates, shared_gates;
  Bf16 *out, *shared_out;
  int tokens;
  int shared_tiles;  // blockIdx.y below it: tiles of the shared expert
  int most_tiles;    // at most so many follow
  float limit;
};

// Tiles of kFewTokens or kManyTokens tokens. One definition a TileMath, in moe_gates_*_cuda.cu and
// moe_down_*_cuda.cu.
template <TileMath kMath>
void LaunchGates(int tile_tokens, const GroupedProduct& product, Stream& stream);
template <TileMath kMath>
void LaunchDown(int tile_tokens, const GroupedProduct& product, Stream& stream);

// The rows of x that a tile takes, and where its results go.
struct TileRows {
  int begin;  // of the results' rows
  int rows;
  const int32_t* token;  // null: row of x = row of the result

  __device__ __forceinline__ int64_t operator()(int i) const {
    return token != nullptr ? token[begin + i] : begin + i;
  }
};

// Some rows of one expert's weights on a tile of tokens.
struct GroupedTile {
  bool shared;  // expert
  int expert;
  int row_block;
  TileRows rows;

  __device__ __forceinline__ const Matrix (&weights(const GroupedProduct& p) const)[2] {
    return shared ? p.shared : p.routed;
  }
};

// Part: Gates or Down, a class of static members.
//   kBlockRows            of a weight that a block takes
//   kByToken              rows of x are tokens, not pairs
//   kExtraBytes<kTokens>  of shared memory, which Clear<kTokens>(extra) makes ready
//   RowTileAt(w, row_block, i)   the block's row tile i of warp i / 2
//   Store<Shape>(p, tile, {shared, extra, tile}, sums)
struct RowTile {
  const Matrix& matrix;
  int64_t tile;  // of its rows
};
struct StoreMemory {
  uint8_t *shared, *extra;
  int tile;  // of the launch's; a block takes every gridDim.x-th
};

// Row block `row_block` of the shared expert's tile y; of a routed one's tile t.
template <int kTokens>
__device__ __forceinline__ GroupedTile SharedTile(const GroupedProduct& p, int row_block, int y) {
  return {true, 0, row_block, {y * kTokens, min(kTokens, p.tokens - y * kTokens), nullptr}};
}
template <class Part>
__device__ __forceinline__ GroupedTile RoutedTile(const GroupedProduct& p, int row_block,
                                                  const MoeTile& t) {
  return {false, t.expert, row_block, {t.begin, t.rows, Part::kByToken ? p.rows.token : nullptr}};
}

// The product on just so many blocks of tokens as an expert's rows want, or one more.
template <class Shape, class Stages>
__device__ __forceinline__ void RunTile(int rows, TileProduct<Shape, Stages>& product,
                                        typename Shape::Sums& sums) {
  if constexpr (Shape::kMx == ptx::kEmulatesMmaBlockScale) {
    RunFor<Shape, Shape::kBlocks>(rows, product, sums);  // not this machine's: for tests
  } else if constexpr (Shape::kTokens == kFewTokens) {
    RunFor<Shape, 1, 2, 3, 4>(rows, product, sums);
  } else if constexpr (Shape::kFormat == kRouted) {
    RunFor<Shape, 4, 6, 8, 10, 11, 12, 13, 14, 16>(rows, product, sums);
  } else {
    RunFor<Shape, Shape::kBlocks>(rows, product, sums);
  }
}

// Two of the small tiles on a processor; the emulation's registers are too many for that.
template <TileMath kMath, int kTokens>
inline constexpr int kBlocksAtOnce = kTokens == kFewTokens && (kMath == TileMath::kBf16 ||
                                                               !ptx::kEmulatesMmaBlockScale)
                                         ? 2
                                         : 1;

// The sums of a tile whose operands come by `stages`, stored; between: between the two.
template <class Part, class Shape, class Stages, class Between>
__device__ __forceinline__ void MultiplyTile(const GroupedProduct& p, const GroupedTile& tile,
                                             const WeightRows<2>& rows,
                                             const TokenRows<Shape>& tokens, Stages& stages,
                                             const StoreMemory& memory, const Between& between) {
  typename Shape::Sums sums = {};
  TileProduct<Shape, Stages> product(stages, rows, tokens, static_cast<int>(tile.weights(p)[0].k));
  RunTile<Shape>(tile.rows.rows, product, sums);
  between();
  Part::template Store<Shape>(p, tile, memory, sums);
}

template <class Part, class Shape>
__device__ __forceinline__ WeightRows<2> RowsOf(const GroupedProduct& p, const GroupedTile& tile) {
  WeightRows<2> rows;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const RowTile at = Part::RowTileAt(tile.weights(p), tile.row_block,
                                       static_cast<int>(threadIdx.x) / 32 * 2 + m);
    SetRowTile<Shape>(rows, m, at.matrix.prepared + tile.expert * at.matrix.stride, at.matrix.n,
                      at.matrix.k, at.tile);
  }
  return rows;
}

template <class Part, class Shape>
__device__ __forceinline__ void CopyAndMultiply(const GroupedProduct& p, const GroupedTile& tile,
                                                const StoreMemory& memory) {
  const WeightRows<2> rows = RowsOf<Part, Shape>(p, tile);
  const TokenRows<Shape> tokens =
      TokensOf<Shape>(tile.shared ? p.shared_x : p.x, tile.rows.rows, tile.rows);
  CopiedStages<Shape> stages(memory.shared, rows, tokens);
  MultiplyTile<Part, Shape>(p, tile, rows, tokens, stages, memory, [] {});
}

template <TileMath kMath, int kTokens>
constexpr int SharedBytes() {
  return std::max(TileShape<kMath, kShared, 2, kTokens>::kSharedBytes,
                  TileShape<kMath, kRouted, 2, kTokens>::kSharedBytes);
}

// blockIdx.x: row block; blockIdx.y: tile.
template <class Part, TileMath kMath, int kTokens>
__global__ void __launch_bounds__(kTileThreads, kBlocksAtOnce<kMath, kTokens>)
    GroupedKernel(GroupedProduct p) {
  extern __shared__ __align__(128) uint8_t shared[];
  ptx::GridDependencyWait();
  const int y = static_cast<int>(blockIdx.y), row_block = static_cast<int>(blockIdx.x);
  if (y >= p.shared_tiles && y - p.shared_tiles >= *p.rows.tile_count) return;
  const GroupedTile tile = y < p.shared_tiles
                               ? SharedTile<kTokens>(p, row_block, y)
                               : RoutedTile<Part>(p, row_block, p.rows.tiles[y - p.shared_tiles]);
  if (row_block * Part::kBlockRows >= tile.weights(p)[0].n) return;
  const StoreMemory memory = {shared, shared + SharedBytes<kMath, kTokens>(), 0};
  Part::template Clear<kTokens>(memory.extra);
  if (tile.shared) {
    CopyAndMultiply<Part, TileShape<kMath, kShared, 2, kTokens>>(p, tile, memory);
  } else {
    CopyAndMultiply<Part, TileShape<kMath, kRouted, 2, kTokens>>(p, tile, memory);
  }
}

// The tiles of all blocks in one row: blocks take every so many-th.
template <class Part, int kTokens>
struct TileRow {
  const GroupedProduct& p;
  int shared_blocks, blocks, shared_count, count;

  explicit __device__ TileRow(const GroupedProduct& p) : p(p) {
    shared_blocks = static_cast<int>((p.shared[0].n + Part::kBlockRows - 1) / Part::kBlockRows);
    blocks = static_cast<int>((p.routed[0].n + Part::kBlockRows - 1) / Part::kBlockRows);
    shared_count = p.shared_tiles * shared_blocks;
    count = shared_count + *p.rows.tile_count * blocks;
  }
  // The routed tile of number i, if it is one: asked for before it is wanted.
  __device__ __forceinline__ MoeTile Ask(int i) const {
    if (i < shared_count || i >= count) return {};
    return p.rows.tiles[(i - shared_count) / blocks];
  }
  __device__ __forceinline__ GroupedTile Tile(int i, const MoeTile& asked) const {
    if (i < shared_count) return SharedTile<kTokens>(p, i % shared_blocks, i / shared_blocks);
    return RoutedTile<Part>(p, (i - shared_count) % blocks, asked);
  }
};

template <class Part, class Shape, class Place>
__device__ __forceinline__ void FillGrouped(Place& place, const GroupedProduct& p,
                                            const GroupedTile& tile) {
  const Matrix(&w)[2] = tile.weights(p);
  FillTile<Shape>(
      place,
      [&](int i) {
        const RowTile at = Part::RowTileAt(w, tile.row_block, i);
        return RowTileOf<Shape>(at.matrix.prepared + tile.expert * at.matrix.stride, at.matrix.n,
                                at.matrix.k, at.tile);
      },
      tile.shared ? p.shared_x : p.x, tile.rows.rows, tile.rows,
      static_cast<int>(w[0].k) / (kTileColumns * Shape::kStageTiles));
}

template <class Part, int kTokens>
__global__ void __launch_bounds__(kRingThreads, 1) GroupedRingKernel(GroupedProduct p) {
  using Shared = TileShape<TileMath::kBf16, kShared, 2, kTokens>;
  using Routed = TileShape<TileMath::kBf16, kRouted, 2, kTokens>;
  extern __shared__ __align__(128) uint8_t shared[];
  const int first = static_cast<int>(blockIdx.x), step = static_cast<int>(gridDim.x);
  StoreMemory memory = {shared, shared + kRingBytes, 0};
  Part::template Clear<kTokens>(memory.extra);
  RunRing<std::max(Shared::kStageBytes, Routed::kStageBytes)>(
      shared,
      [&](auto& place) {
        for (int i = first;; i += step) {
          const TileRow<Part, kTokens> tiles(p);  // anew: registers are short
          if (i >= tiles.count) break;
          const GroupedTile tile = tiles.Tile(i, tiles.Ask(i));
          if (tile.shared) {
            FillGrouped<Part, Shared>(place, p, tile);
          } else {
            FillGrouped<Part, Routed>(place, p, tile);
          }
        }
      },
      [&](auto& stages) {
        MoeTile ahead = TileRow<Part, kTokens>(p).Ask(first);
        for (int i = first;; i += step) {
          const TileRow<Part, kTokens> tiles(p);
          if (i >= tiles.count) break;
          const GroupedTile tile = tiles.Tile(i, ahead);
          memory.tile = i;
          const auto ask = [&] { ahead = TileRow<Part, kTokens>(p).Ask(i + step); };
          if (tile.shared) {
            MultiplyTile<Part, Shared>(p, tile, RowsOf<Part, Shared>(p, tile), {}, stages, memory,
                                       ask);
          } else {
            MultiplyTile<Part, Routed>(p, tile, RowsOf<Part, Routed>(p, tile), {}, stages, memory,
                                       ask);
          }
        }
      });
}

template <class Part, TileMath kMath, int kTokens>
void LaunchGrouped(const char* name, const GroupedProduct& p, Stream& stream) {
  const unsigned row_blocks = Blocks(std::max(p.routed[0].n, p.shared[0].n), Part::kBlockRows);
  const unsigned tiles = static_cast<unsigned>(p.shared_tiles + p.most_tiles);
  if constexpr (kRings<TileShape<kMath, kRouted, 2, kTokens>>) {
    Launch({.name = name,
            .grid = dim3(std::min(row_blocks * tiles, static_cast<unsigned>(Multiprocessors()))),
            .threads = kRingThreads,
            .shared_bytes = kRingBytes + Part::template kExtraBytes<kTokens>},
           stream, GroupedRingKernel<Part, kTokens>, p);
  } else {
    Launch({.name = name,
            .grid = dim3(row_blocks, tiles),
            .threads = kTileThreads,
            .shared_bytes = SharedBytes<kMath, kTokens>() + Part::template kExtraBytes<kTokens>},
           stream, GroupedKernel<Part, kMath, kTokens>, p);
  }
}

template <class Part, TileMath kMath>
void LaunchGrouped(const char* name, int tile_tokens, const GroupedProduct& p, Stream& stream) {
  (tile_tokens == kFewTokens ? LaunchGrouped<Part, kMath, kFewTokens>
                             : LaunchGrouped<Part, kMath, kManyTokens>)(name, p, stream);
}

}  // namespace tandem::kernels::cuda
