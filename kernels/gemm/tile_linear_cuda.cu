// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/gemm/tile_gemm.cuh"
#include "kernels/gemm/tile_linear.h"
#include "kernels/gemm/tile_store.cuh"

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
  int tile_tokens;  // of a block
};

// blockIdx.x: rows of a group, group by group; blockIdx.y: tokens.
template <class Shape, typename Output>
__global__ void __launch_bounds__(kTileThreads, Shape::kBlocksPerProcessor)
    TileLinearKernel(Product p) {
  using Operands = OperandsOf<Shape>;
  extern __shared__ __align__(128) uint8_t shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int blocks = (p.group_rows + Shape::kRows - 1) / Shape::kRows;
  const int group = static_cast<int>(blockIdx.x) / blocks;
  const int row = group * p.group_rows + static_cast<int>(blockIdx.x) % blocks * Shape::kRows +
                  warp * Shape::kRowTiles * kTileRows;
  const int end = (group + 1) * p.group_rows;
  const int first = static_cast<int>(blockIdx.y) * p.tile_tokens;
  const int limit = min(first + p.tile_tokens, p.tokens);
  WeightRows<Shape::kRowTiles> rows;
#pragma unroll
  for (int m = 0; m < Shape::kRowTiles; ++m) {
    // A tile behind the last is not stored: any that exists will do.
    const int64_t tile = min(static_cast<int64_t>(row / kTileRows + m), RowTiles(p.n) - 1);
    SetRowTile<Shape>(rows, m, p.prepared, p.n, p.k, tile);
  }
  const TokenRows<Shape> tokens = TokensOf<Shape>(
      p.x, limit - first, [&](int i) { return int64_t{first + i} * p.groups + group; });
  typename Shape::Sums sums = {};
  TileProduct<Shape> product(shared, rows, tokens, p.columns);
  if constexpr (Shape::kTokens == 128 && !(Shape::kMx && ptx::kEmulatesMmaBlockScale)) {
    RunFor<Shape, 12, 14, 16>(limit - first, product, sums);
  } else {
    RunFor<Shape, Shape::kBlocks>(limit - first, product, sums);
  }
  ptx::GridDependencyLaunch();
#pragma unroll
  for (int j = 0; j < Shape::kBlocks; ++j) {
    const int token = first + 8 * j;
    if (token >= limit) break;
    if constexpr (sizeof(Output) == 4) {
#pragma unroll
      for (int i = 0; i < 4 * Shape::kRowTiles; ++i) {
        const int64_t t = token + lane % 4 * 2 + i % 2;
        const int r = row + i / 2 * 8 + lane / 4;
        if (t < limit && r < end) {
          static_cast<float*>(p.y)[t * p.n + r] = Operands::Finish(sums[i / 4][j][i % 4]);
        }
      }
    } else {
      uint32_t pairs[2 * Shape::kRowTiles];
#pragma unroll
      for (int i = 0; i < 2 * Shape::kRowTiles; ++i) {
        pairs[i] = PackBf16(Operands::Finish(sums[i / 2][j][i % 2 * 2]),
                            Operands::Finish(sums[i / 2][j][i % 2 * 2 + 1]));
      }
      StoreTokens(shared + warp * kStoreBytes + j % 2 * 512, pairs,
                  static_cast<Bf16*>(p.y) + int64_t{token} * p.n + row, p.n, limit - token,
                  end - row);
    }
  }
}

template <class Shape, typename Output>
void LaunchShape(const char* name, Product p, int tile_tokens, Stream& stream) {
  p.tile_tokens = tile_tokens;
  Launch({.name = name,
          .grid = dim3(Blocks(p.group_rows, Shape::kRows) * static_cast<unsigned>(p.groups),
                       Blocks(p.tokens, tile_tokens)),
          .threads = kTileThreads,
          .shared_bytes = Shape::kSharedBytes},
         stream, TileLinearKernel<Shape, Output>, p);
}

struct Choice {
  int rows, tokens;  // of a tile
  int a_processor;   // tiles at once
  int time;          // that these take, whatever the unit
};

// 256 rows by 128 tokens do the most with a byte of shared memory; where rounds of them would leave
// processors idle, other tiles win although a product costs more there. Times as on H100.
inline constexpr Choice kChoices[] = {
    {256, 128, 1, 64}, {256, 112, 1, 57}, {256, 96, 1, 50}, {128, 64, 2, 42}, {128, 32, 2, 30}};

Choice BestTile(const Product& p) {
  Choice best = {};
  int64_t least = 0;
  for (const Choice& c : kChoices) {
    const int64_t tiles =
        int64_t{Blocks(p.group_rows, c.rows)} * p.groups * Blocks(p.tokens, c.tokens);
    const int64_t rounds = Blocks(tiles, Multiprocessors() * c.a_processor);
    if (best.rows == 0 || rounds * c.time < least) best = c, least = rounds * c.time;
  }
  return best;
}

template <TileMath kMath, WeightFormat kFormat, typename Output>
void LaunchBest(const char* name, const Product& p, Stream& stream) {
  const Choice c = BestTile(p);
  if (c.rows == 256) {
    LaunchShape<TileShape<kMath, kFormat, 2, 128>, Output>(name, p, c.tokens, stream);
  } else if (c.tokens == 64) {
    LaunchShape<TileShape<kMath, kFormat, 1, 64>, Output>(name, p, c.tokens, stream);
  } else {
    LaunchShape<TileShape<kMath, kFormat, 1, 32>, Output>(name, p, c.tokens, stream);
  }
}

constexpr int kExpandThreads = 256;

// Codes times their scale are exact in bf16. A thread takes 16 codes.
__global__ void __launch_bounds__(kExpandThreads)
    ExpandKernel(const E4M3* q, const Ue8m0* scale, Bf16* x, int64_t pieces) {
  ptx::GridDependencyWait();
  const int64_t piece = blockIdx.x * int64_t{kExpandThreads} + threadIdx.x;
  if (piece >= pieces) return;
  const uint4 codes = reinterpret_cast<const uint4*>(q)[piece];
  const float s = ToFloat(scale[piece / (kActGroup / 16)]);
  const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
  uint32_t out[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float2 v = E4M3ToFloat2(static_cast<uint16_t>(words[i / 2] >> (16 * (i % 2))));
    out[i] = PackBf16(v.x * s, v.y * s);
  }
  uint4* const to = reinterpret_cast<uint4*>(x) + 2 * piece;
  to[0] = make_uint4(out[0], out[1], out[2], out[3]);
  to[1] = make_uint4(out[4], out[5], out[6], out[7]);
}

// Rows of k values to rows of `columns`, filled up with zeros.
__global__ void __launch_bounds__(kExpandThreads)
    FillUpKernel(const Bf16* x, Bf16* filled, int64_t rows, int64_t k, int64_t columns) {
  ptx::GridDependencyWait();
  const int64_t i = blockIdx.x * int64_t{kExpandThreads} + threadIdx.x;
  if (i >= rows * columns) return;
  const int64_t column = i % columns;
  filled[i] = column < k ? x[i / columns * k + column] : Bf16{0};
}

// x if its rows are whole tiles and aligned, else a copy with such rows.
const Bf16* WholeTiles(const Bf16* x, int64_t rows, int64_t k, int64_t columns, Scratch& scratch,
                       Stream& stream) {
  if (k == columns && reinterpret_cast<uintptr_t>(x) % 16 == 0) return x;
  Bf16* const filled = scratch.Take<Bf16>(rows * columns);
  Launch({.name = "fill up",
          .grid = dim3(Blocks(rows * columns, kExpandThreads)),
          .threads = kExpandThreads},
         stream, FillUpKernel, x, filled, rows, k, columns);
  return filled;
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
  Launch({.name = "expand activations",
          .grid = dim3(Blocks(size / 16, kExpandThreads)),
          .threads = kExpandThreads},
         stream, ExpandKernel, args.q.data, args.scale.data, x, size / 16);
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
