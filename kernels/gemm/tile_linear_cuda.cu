// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/gemm/tile_choice.h"
#include "kernels/gemm/tile_gemm.cuh"
#include "kernels/gemm/tile_inputs.cuh"
#include "kernels/gemm/tile_linear.h"
#include "kernels/gemm/tile_ring.cuh"
#include "kernels/gemm/tile_shared.cuh"
#include "kernels/gemm/tile_store.cuh"
#include "kernels/gemm/tile_turns.h"

namespace tandem::kernels::cuda {
namespace {

struct Product {
  const uint8_t* prepared;
  int64_t n;       // rows of the weight
  int64_t k;       // its columns
  int columns;     // the same, filled up to whole tiles; x has as many
  int groups;      // of rows, each with its own columns of x
  int group_rows;  // n / groups
  TokenMatrix x;   // rows [tokens, groups]
  void* y;         // [tokens, n]
  int tokens;
  int tile_tokens;         // of a block
  SharedSums shared = {};  // null: no tile is of two blocks
};

// A tile: rows of one group, and tokens.
struct Tile {
  int row_tile;      // its first, of the weight
  int row, end;      // this warp's first row; behind the group's last
  int group;         // of columns of x
  int first, limit;  // tokens

  __device__ __forceinline__ int64_t operator()(int i, int groups) const {
    return int64_t{first + i} * groups + group;
  }
};

// Tile x, y of the product: rows of a group, group by group; tokens.
template <class Shape>
__device__ __forceinline__ Tile TileAt(const Product& p, int x, int y) {
  const int blocks = (p.group_rows + Shape::kRows - 1) / Shape::kRows;
  const int group = x / blocks, row = group * p.group_rows + x % blocks * Shape::kRows;
  const int first = y * p.tile_tokens;
  return {.row_tile = row / kTileRows,
          .row = row + static_cast<int>(threadIdx.x) / 32 * Shape::kRowTiles * kTileRows,
          .end = (group + 1) * p.group_rows,
          .group = group,
          .first = first,
          .limit = min(first + p.tile_tokens, p.tokens)};
}

// Row tile i of a tile. Those behind the last are not stored: any that exists will do.
__device__ __forceinline__ int64_t RowTileAt(const Product& p, const Tile& tile, int i) {
  return min(static_cast<int64_t>(tile.row_tile + i), RowTiles(p.n) - 1);
}

template <class Shape>
__device__ __forceinline__ void StoreFloats(const Product& p, const Tile& tile,
                                            const typename Shape::Sums& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int j = 0; j < Shape::kBlocks; ++j) {
    const int token = tile.first + 8 * j;
    if (token >= tile.limit) break;
#pragma unroll
    for (int i = 0; i < 4 * Shape::kRowTiles; ++i) {
      const int64_t t = token + lane % 4 * 2 + i % 2;
      const int r = tile.row + i / 2 * 8 + lane / 4;
      if (t < tile.limit && r < tile.end) {
        static_cast<float*>(p.y)[t * p.n + r] = OperandsOf<Shape>::Finish(sums[i / 4][j][i % 4]);
      }
    }
  }
}

template <class Shape>
__device__ __forceinline__ void StoreBf16s(const Product& p, const Tile& tile,
                                           const typename Shape::Sums& sums) {
  constexpr int kMatrices = 2 * Shape::kRowTiles;
#pragma unroll
  for (int first = 0; first < Shape::kBlocks; first += kStoreBlocks) {
    const int token = tile.first + 8 * first;
    if (token >= tile.limit) break;
    uint32_t pairs[kStoreBlocks][kMatrices];
#pragma unroll
    for (int i = 0; i < kMatrices * kStoreBlocks; ++i) {
      const float(&sum)[4] = sums[i % kMatrices / 2][first + i / kMatrices];
      pairs[i / kMatrices][i % kMatrices] = PackBf16(OperandsOf<Shape>::Finish(sum[i % 2 * 2]),
                                                     OperandsOf<Shape>::Finish(sum[i % 2 * 2 + 1]));
    }
    StoreTokens(pairs, static_cast<Bf16*>(p.y) + int64_t{token} * p.n + tile.row, p.n,
                tile.limit - token, tile.end - tile.row);
  }
}

// sums += product of `columns` columns of a tile.
template <class Shape, class Stages>
__device__ __forceinline__ void AddTile(const Tile& tile, const WeightRows<Shape::kRowTiles>& rows,
                                        const TokenRows<Shape>& tokens, int columns, Stages& stages,
                                        typename Shape::Sums& sums) {
  TileProduct<Shape, Stages> product(stages, rows, tokens, columns);
  if constexpr (Shape::kTokens == 128 && !(Shape::kMx && ptx::kEmulatesMmaBlockScale)) {
    RunFor<Shape, 12, 14, 16>(tile.limit - tile.first, product, sums);
  } else {
    RunFor<Shape, Shape::kBlocks>(tile.limit - tile.first, product, sums);
  }
}

template <class Shape, typename Output>
__device__ __forceinline__ void StoreTile(const Product& p, const Tile& tile,
                                          const typename Shape::Sums& sums) {
  if constexpr (sizeof(Output) == 4) {
    StoreFloats<Shape>(p, tile, sums);
  } else {
    StoreBf16s<Shape>(p, tile, sums);
  }
}

template <class Shape>
__device__ __forceinline__ WeightRows<Shape::kRowTiles> RowsOf(const Product& p, const Tile& tile) {
  WeightRows<Shape::kRowTiles> rows;
#pragma unroll
  for (int m = 0; m < Shape::kRowTiles; ++m) {
    const int i = static_cast<int>(threadIdx.x) / 32 * Shape::kRowTiles + m;
    SetRowTile<Shape>(rows, m, p.prepared, p.n, p.k, RowTileAt(p, tile, i));
  }
  return rows;
}

// blockIdx: x, y of its tile.
template <class Shape, typename Output>
__global__ void __launch_bounds__(kTileThreads, Shape::kBlocksPerProcessor)
    TileLinearKernel(Product p) {
  extern __shared__ __align__(128) uint8_t shared[];
  const Tile tile = TileAt<Shape>(p, static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y));
  const WeightRows<Shape::kRowTiles> rows = RowsOf<Shape>(p, tile);
  const TokenRows<Shape> tokens =
      TokensOf<Shape>(p.x, tile.limit - tile.first, [&](int i) { return tile(i, p.groups); });
  CopiedStages<Shape> stages(shared, rows, tokens);
  typename Shape::Sums sums = {};
  AddTile<Shape>(tile, rows, tokens, p.columns, stages, sums);
  StoreTile<Shape, Output>(p, tile, sums);
}

// Tiles `wide` side by side.
template <class Shape, typename Output>
__global__ void __launch_bounds__(kRingThreads, 1)
    TileLinearRingKernel(Product p, int wide, TileTurns turns) {
  extern __shared__ __align__(128) uint8_t shared[];
  const int block = static_cast<int>(blockIdx.x);
  const auto columns = [&](TileHalf half) {
    return half == TileHalf::kWhole ? p.columns : p.columns / 2;
  };
  // Where they begin.
  const auto column = [&](TileHalf half) { return half == TileHalf::kSecond ? p.columns / 2 : 0; };
  RunRing<Shape::kStageBytes>(
      shared,
      [&](auto& place) {
        turns.ForEach(block, [&](int i, TileHalf half) {
          const Tile tile = TileAt<Shape>(p, i % wide, i / wide);
          TokenMatrix x = p.x;
          x.x += 2 * column(half);
          FillTile<Shape>(
              place,
              [&](int m) {
                RowTileAddress at = RowTileOf<Shape>(p.prepared, p.n, p.k, RowTileAt(p, tile, m));
                at.codes += column(half) / LoadColumns(Shape::kFormat) * kWarpLoadBytes;
                at.scales += column(half) / 128 * 64;
                return at;
              },
              x, tile.limit - tile.first, [&](int t) { return tile(t, p.groups); },
              columns(half) / (kTileColumns * Shape::kStageTiles));
        });
      },
      [&](auto& stages) {
        turns.ForEach(block, [&](int i, TileHalf half) {
          const Tile tile = TileAt<Shape>(p, i % wide, i / wide);
          WeightRows<Shape::kRowTiles> rows = RowsOf<Shape>(p, tile);
          if constexpr (Shape::kFormat == WeightFormat::kFp8) {
#pragma unroll
            for (int m = 0; m < Shape::kRowTiles; ++m) rows.scales[m] += column(half) / 128;
          }
          const int at = i - (turns.count - turns.Shared());  // of the shared ones
          typename Shape::Sums sums = {};
          if (half == TileHalf::kSecond) TakeSums<Shape>(p.shared, at, sums);
          AddTile<Shape>(tile, rows, {}, columns(half), stages, sums);
          if (half == TileHalf::kFirst) {
            LeaveSums<Shape>(p.shared, at, sums);
          } else {
            StoreTile<Shape, Output>(p, tile, sums);
          }
        });
      });
}

template <class Shape, typename Output>
void LaunchShape(const char* name, Product p, int tile_tokens, Stream& stream) {
  p.tile_tokens = tile_tokens;
  const dim3 tiles(Blocks(p.group_rows, Shape::kRows) * static_cast<unsigned>(p.groups),
                   Blocks(p.tokens, tile_tokens));
  if constexpr (kRings<Shape>) {
    const int count = static_cast<int>(tiles.x * tiles.y);
    const TileTurns turns = {.count = count,
                             .blocks = std::min(count, Multiprocessors()),
                             .halves = p.shared.sums != nullptr};
    Launch({.name = name,
            .grid = dim3(static_cast<unsigned>(turns.blocks)),
            .threads = kRingThreads,
            .shared_bytes = kRingBytes},
           stream, TileLinearRingKernel<Shape, Output>, p, static_cast<int>(tiles.x), turns);
  } else {
    Launch(
        {.name = name, .grid = tiles, .threads = kTileThreads, .shared_bytes = Shape::kSharedBytes},
        stream, TileLinearKernel<Shape, Output>, p);
  }
}

TileRoom RoomOf(const Product& p) {
  return {.group_rows = p.group_rows,
          .groups = p.groups,
          .tokens = p.tokens,
          .processors = Multiprocessors()};
}

template <TileMath kMath, WeightFormat kFormat, typename Output>
void LaunchBest(const char* name, const Product& p, Stream& stream) {
  const TileChoice c = BestTile(RoomOf(p), p.shared.sums != nullptr);
  if (c.rows == 256) {
    LaunchShape<TileShape<kMath, kFormat, 2, 128>, Output>(name, p, c.tokens, stream);
  } else if (c.tokens == 64) {
    LaunchShape<TileShape<kMath, kFormat, 1, 64>, Output>(name, p, c.tokens, stream);
  } else {
    LaunchShape<TileShape<kMath, kFormat, 1, 32>, Output>(name, p, c.tokens, stream);
  }
}

// Room for the sums of tiles of two blocks, where they save time.
SharedSums TakeShared(const Product& p, Scratch& scratch, int* tiles) {
  using Shape = TileShape<TileMath::kBf16, WeightFormat::kFp8, 2, 128>;
  const bool whole_scales = p.columns % 256 == 0;
  const TileRoom room = RoomOf(p);
  *tiles = TurnsOf(room, BestTile(room, whole_scales), whole_scales).Shared();
  if (*tiles == 0) return {};
  return {.sums = scratch.Take<float4>(*tiles * kSharedSums<Shape>),
          .ready = scratch.Take<uint32_t>(int64_t{*tiles} * kTileWarps)};
}

int64_t Columns(const LinearWeight& weight) {
  return LoadsPerRow(weight.format, weight.k) * LoadColumns(weight.format);
}

Product Describe(const LinearWeight& weight, int64_t groups, int64_t tokens, void* y) {
  KERNEL_CHECK(weight.prepared != nullptr);
  return {.prepared = weight.prepared,
          .n = weight.n,
          .k = weight.k,
          .columns = static_cast<int>(Columns(weight)),
          .groups = static_cast<int>(groups),
          .group_rows = static_cast<int>(weight.n / groups),
          .y = y,
          .tokens = static_cast<int>(tokens)};
}

TokenMatrix InBf16(const Bf16* x, int64_t columns) {
  return {.x = reinterpret_cast<const uint8_t*>(x), .row_bytes = 2 * columns};
}

}  // namespace

TileMath NativeTileMath() {
  static const TileMath math = [] {
    // The driver has loaded the form of the kernels that is this device's: of sm_120f, or one in
    // which the product is emulated.
    cudaFuncAttributes attributes = {};
    KERNEL_CHECK_EQ(cudaFuncGetAttributes(&attributes, ExpandKernel), cudaSuccess);
    return attributes.binaryVersion / 10 == 12 ? TileMath::kMx : TileMath::kBf16;
  }();
  return math;
}

void TileQuantLinear(const QuantLinearArgs& args, TileMath math, Stream& stream) {
  CheckQuantLinear(args);
  Scratch scratch(stream);
  Product p = Describe(args.weight, 1, args.q.shape[0], args.y.data);
  const bool fp8 = args.weight.format == WeightFormat::kFp8;
  if (math == TileMath::kMx) {
    p.x = {.x = reinterpret_cast<const uint8_t*>(args.q.data),
           .scale = reinterpret_cast<const uint8_t*>(args.scale.data),
           .row_bytes = p.k,
           .scale_bytes = p.k / kActGroup};
    (fp8 ? LaunchBest<TileMath::kMx, WeightFormat::kFp8, Bf16>
         : LaunchBest<TileMath::kMx, WeightFormat::kFp4, Bf16>)("quant_linear tiles", p, stream);
    return;
  }
  const int64_t size = args.q.size();
  Bf16* const x = scratch.Take<Bf16>(size);
  int shared = 0;
  p.shared = TakeShared(p, scratch, &shared);
  Launch({.name = "expand activations",
          .grid = dim3(Blocks(size / 8, kExpandThreads * kExpandPieces)),
          .threads = kExpandThreads},
         stream, ExpandKernel, args.q.data, args.scale.data, x, size / 8, p.shared.ready,
         shared * kTileWarps);
  p.x = InBf16(x, p.k);
  (fp8 ? LaunchBest<TileMath::kBf16, WeightFormat::kFp8, Bf16>
       : LaunchBest<TileMath::kBf16, WeightFormat::kFp4, Bf16>)("quant_linear tiles", p, stream);
}

void TileBf16Linear(const Bf16LinearArgs& args, Stream& stream) {
  CheckBf16Linear(args);
  Scratch scratch(stream);
  Product p = Describe(args.weight, 1, args.x.shape[0], args.y.data);
  p.x =
      InBf16(WholeTiles(args.x.data, args.x.shape[0], p.k, p.columns, scratch, stream), p.columns);
  LaunchBest<TileMath::kBf16, WeightFormat::kBf16, float>("bf16_linear tiles", p, stream);
}

void TileGroupedLinear(const GroupedLinearArgs& args, Stream& stream) {
  CheckGroupedLinear(args);
  Scratch scratch(stream);
  const int64_t tokens = args.x.shape[0], groups = args.x.shape[1];
  Product p = Describe(args.weight, groups, tokens, args.y.data);
  p.x =
      InBf16(WholeTiles(args.x.data, tokens * groups, p.k, p.columns, scratch, stream), p.columns);
  if (args.weight.format == WeightFormat::kFp8) {
    LaunchBest<TileMath::kBf16, WeightFormat::kFp8, Bf16>("grouped_linear tiles", p, stream);
  } else {
    LaunchBest<TileMath::kBf16, WeightFormat::kBf16, Bf16>("grouped_linear tiles", p, stream);
  }
}

}  // namespace tandem::kernels::cuda
