// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/gemm/tile_gemm.cuh"
#include "kernels/gemm/tile_store.cuh"
#include "kernels/moe/moe_tiles.h"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels::cuda {
namespace {

// A pass takes so many tokens at most: its w2 results alone are 2·D bytes a pair.
constexpr int64_t kPassTokens = 4096;
constexpr int kFewTokens = 32, kManyTokens = 128;  // of a tile

constexpr WeightFormat kRouted = WeightFormat::kFp4, kShared = WeightFormat::kFp8;

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
  float limit;
};

// The rows of x that a block takes, and where its results go.
struct TileRows {
  int begin;  // of the results' rows
  int rows;
  const int32_t* token;  // null: row of x = row of the result
};

template <class Shape>
__device__ __forceinline__ TokenRows<Shape> Tokens(const TileRows& tile, const TokenMatrix& x) {
  return TokensOf<Shape>(x, tile.rows, [&](int i) -> int64_t {
    return tile.token != nullptr ? tile.token[tile.begin + i] : tile.begin + i;
  });
}

// The product on just so many blocks of tokens as an expert's rows want, or one more.
template <class Shape>
__device__ __forceinline__ void RunTile(int rows, TileProduct<Shape>& product,
                                        typename Shape::Sums& sums) {
  if constexpr (Shape::kTokens == kFewTokens) {
    RunFor<Shape, 1, 2, 3, 4>(rows, product, sums);
  } else if constexpr (Shape::kMx && ptx::kEmulatesMmaBlockScale) {
    RunFor<Shape, 4, 12, 16>(rows, product, sums);  // fewer forms: a test builds sooner
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

// silu in fp32: e^-x and the quotient within 2 ulp each; NaN stays NaN.
__device__ __forceinline__ float Gate(float a, float b, float limit, float weight) {
  a = RoundBf16(a), b = RoundBf16(b);
  a = a > limit ? limit : a;
  b = b < -limit ? -limit : b > limit ? limit : b;
  const float silu = __fdividef(a, 1.0f + expf(-a));
  return RoundBf16(weight * (silu * b));
}

// sums[0] and sums[1], w1·x and w3·x of 128 rows, to quantised gates.
template <class Shape>
__device__ __forceinline__ void StoreGates(uint8_t* shared, const TileRows& tile,
                                           const float* weight, float limit, int row, int64_t inner,
                                           const QuantisedRows& out, typename Shape::Sums& sums) {
  using Operands = OperandsOf<Shape>;
  float* const largest = reinterpret_cast<float*>(shared + kTileWarps * kStoreBytes);
  float* const scales = largest + kTileWarps * Shape::kTokens;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int j = 0; j < Shape::kBlocks; ++j) {
    if (8 * j >= tile.rows) break;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int token = 8 * j + lane % 4 * 2 + i;
      const float w = weight != nullptr && token < tile.rows ? weight[tile.begin + token] : 1.0f;
      float most = 0;
#pragma unroll
      for (int half = 0; half < 4; half += 2) {
        float& gate = sums[0][j][half + i];
        gate = Gate(Operands::Finish(gate), Operands::Finish(sums[1][j][half + i]), limit, w);
        most = fmaxf(most, fabsf(gate));
      }
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, offset));
      }
      if (lane < 4) largest[warp * Shape::kTokens + token] = most;
    }
  }
  __syncthreads();
  if (threadIdx.x < Shape::kTokens) {
    float most = kE4M3Floor;
    for (int i = 0; i < kTileWarps; ++i) {
      most = fmaxf(most, largest[i * Shape::kTokens + threadIdx.x]);
    }
    const Ue8m0 scale = ScaleOf(most, kInverse448);
    scales[threadIdx.x] = ToFloat(scale);
    if (Shape::kMx && static_cast<int>(threadIdx.x) < tile.rows) {
      out.scale[(int64_t{tile.begin} + threadIdx.x) * (inner / kActGroup) + row / kActGroup] =
          scale.bits;
    }
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < Shape::kBlocks; ++j) {
    if (8 * j >= tile.rows) break;
    const float2 scale = *reinterpret_cast<const float2*>(scales + 8 * j + lane % 4 * 2);
    const float2 inverse = {1.0f / scale.x, 1.0f / scale.y};  // exact: powers of two
    uint16_t codes[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      codes[half] =
          PackE4M3(sums[0][j][2 * half] * inverse.x, sums[0][j][2 * half + 1] * inverse.y);
    }
    uint8_t* const buffer = shared + warp * kStoreBytes + j % 2 * 512;
    const int64_t at = int64_t{tile.begin + 8 * j} * inner + row;
    if constexpr (Shape::kMx) {
      StoreTokenCodes(buffer, codes, out.x + at, inner, tile.rows - 8 * j);
    } else {
      uint32_t pairs[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 v = E4M3ToFloat2(codes[half]);
        pairs[half] = PackBf16(v.x * scale.x, v.y * scale.y);
      }
      StoreTokens(buffer, pairs, reinterpret_cast<Bf16*>(out.x) + at, inner, tile.rows - 8 * j,
                  kTileRows);
    }
  }
}

// 128 rows of w1 and of w3 of one expert.
template <class Shape>
__device__ __forceinline__ void GateTile(uint8_t* shared, const Matrix (&w)[2], int64_t expert,
                                         const TileRows& tile, const TokenMatrix& x,
                                         const float* weight, float limit,
                                         const QuantisedRows& out) {
  const int row =
      (static_cast<int>(blockIdx.x) * kTileWarps + static_cast<int>(threadIdx.x) / 32) * kTileRows;
  WeightRows<2> rows;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    SetRowTile<Shape>(rows, m, w[m].prepared + expert * w[m].stride, w[m].n, w[m].k,
                      row / kTileRows);
  }
  typename Shape::Sums sums = {};
  TileProduct<Shape> product(shared, rows, Tokens<Shape>(tile, x), static_cast<int>(w[0].k));
  RunTile<Shape>(tile.rows, product, sums);
  StoreGates<Shape>(shared, tile, weight, limit, row, w[0].n, out, sums);
}

// blockIdx.x: 128 rows; blockIdx.y: a tile.
template <TileMath kMath, int kTokens>
__global__ void __launch_bounds__(kTileThreads, kBlocksAtOnce<kMath, kTokens>)
    GateKernel(GroupedProduct p) {
  extern __shared__ __align__(128) uint8_t shared[];
  ptx::GridDependencyWait();
  const int y = static_cast<int>(blockIdx.y);
  const int row = static_cast<int>(blockIdx.x) * kTileWarps * kTileRows;
  if (y < p.shared_tiles) {
    if (row >= p.shared[0].n) return;
    const TileRows tile = {y * kTokens, min(kTokens, p.tokens - y * kTokens), nullptr};
    GateTile<TileShape<kMath, kShared, 2, kTokens>>(shared, p.shared, 0, tile, p.shared_x, nullptr,
                                                    p.limit, p.shared_gates);
    return;
  }
  if (y - p.shared_tiles >= *p.rows.tile_count || row >= p.routed[0].n) return;
  const MoeTile t = p.rows.tiles[y - p.shared_tiles];
  GateTile<TileShape<kMath, kRouted, 2, kTokens>>(shared, p.routed, t.expert,
                                                  {t.begin, t.rows, p.rows.token}, p.x,
                                                  p.rows.weight, p.limit, p.gates);
}

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

Matrix One(const LinearWeight& weight) {
  KERNEL_CHECK(weight.format == kShared);
  KERNEL_CHECK(weight.prepared != nullptr);
  return {.prepared = weight.prepared, .n = weight.n, .k = weight.k};
}

// The same weight of every expert.
Matrix Every(TensorView<const ExpertWeights, 1> experts, LinearWeight ExpertWeights::*which) {
  const LinearWeight& first = experts[0].*which;
  KERNEL_CHECK(first.format == kRouted);
  KERNEL_CHECK(first.prepared != nullptr);
  Matrix matrix = {.prepared = first.prepared, .n = first.n, .k = first.k};
  if (experts.shape[0] > 1) matrix.stride = (experts[1].*which).prepared - first.prepared;
  for (int64_t e = 1; e < experts.shape[0]; ++e) {
    const LinearWeight& weight = experts[e].*which;
    KERNEL_CHECK(weight.prepared == first.prepared + e * matrix.stride);
    KERNEL_CHECK(weight.n == first.n && weight.k == first.k && weight.format == kRouted);
  }
  return matrix;
}

template <TileMath kMath, int kTokens>
int64_t SharedBytes() {
  return std::max(TileShape<kMath, kShared, 2, kTokens>::kSharedBytes,
                  TileShape<kMath, kRouted, 2, kTokens>::kSharedBytes);
}

QuantisedRows TakeRows(TileMath math, int64_t rows, int64_t k, Scratch& scratch) {
  if (math == TileMath::kBf16) return {.x = scratch.Take<uint8_t>(2 * rows * k)};
  return {.x = scratch.Take<uint8_t>(rows * k),
          .scale = scratch.Take<uint8_t>(rows * (k / kActGroup))};
}
TokenMatrix ViewOf(const QuantisedRows& rows, int64_t k) {
  return {.x = rows.x,
          .scale = rows.scale,
          .row_bytes = rows.scale == nullptr ? 2 * k : k,
          .scale_bytes = k / kActGroup};
}

template <TileMath kMath, int kTokens>
void Run(const MoeExpertsArgs& args, Stream& stream) {
  Scratch scratch(stream);
  const int64_t tokens = args.x.shape[0], dim = args.x.shape[1], pairs = args.experts.size();
  const int64_t experts = args.routed.shape[0], tiles = MostTiles(pairs, experts, kTokens);
  GroupedProduct gate = {
      .routed = {Every(args.routed, &ExpertWeights::w1), Every(args.routed, &ExpertWeights::w3)},
      .shared = {One(args.shared.w1), One(args.shared.w3)}};
  GroupedProduct down = {.routed = {Every(args.routed, &ExpertWeights::w2)},
                         .shared = {One(args.shared.w2)}};
  const int64_t inner = gate.routed[0].n, shared_inner = gate.shared[0].n;
  KERNEL_CHECK_MULTIPLE(inner, kActGroup);
  gate.rows = {.tile_count = scratch.Take<int32_t>(1),
               .tiles = scratch.Take<MoeTile>(tiles),
               .token = scratch.Take<int32_t>(pairs),
               .weight = scratch.Take<float>(pairs),
               .row_of = scratch.Take<int32_t>(pairs)};
  const QuantisedRows x = TakeRows(kMath, tokens, dim, scratch);
  gate.x = gate.shared_x = ViewOf(x, dim);
  gate.gates = TakeRows(kMath, pairs, inner, scratch);
  gate.shared_gates = TakeRows(kMath, tokens, shared_inner, scratch);
  gate.tokens = static_cast<int>(tokens);
  gate.shared_tiles = static_cast<int>((tokens + kTokens - 1) / kTokens);
  gate.limit = args.limit;
  down.rows = gate.rows;
  down.x = ViewOf(gate.gates, inner);
  down.shared_x = ViewOf(gate.shared_gates, shared_inner);
  down.out = scratch.Take<Bf16>(pairs * dim);
  down.shared_out = scratch.Take<Bf16>(tokens * dim);
  down.tokens = gate.tokens;
  down.shared_tiles = gate.shared_tiles;

  MoePrepare(args, kTokens, gate.rows, x, stream);
  const unsigned all_tiles = static_cast<unsigned>(gate.shared_tiles + tiles);
  LaunchConfig config = {.threads = kTileThreads, .shared_bytes = SharedBytes<kMath, kTokens>()};
  config.name = "moe w1, w3";
  config.grid = dim3(Blocks(std::max(inner, shared_inner), kTileWarps * kTileRows), all_tiles);
  Launch(config, stream, GateKernel<kMath, kTokens>, gate);
  config.name = "moe w2";
  config.grid = dim3(Blocks(dim, 2 * kTileWarps * kTileRows), all_tiles);
  Launch(config, stream, DownKernel<kMath, kTokens>, down);
  MoeCombine(args, gate.rows.row_of, down.out, down.shared_out, stream);
}

}  // namespace

void MoeExpertsGrouped(const MoeExpertsArgs& args, TileMath math, Stream& stream) {
  CheckMoeExperts(args);
  KERNEL_CHECK_LE(args.experts.shape[1], kMostSlots);
  KERNEL_CHECK_LE(args.routed.shape[0], kMostExperts);
  KERNEL_CHECK_MULTIPLE(args.x.shape[1], kActGroup);
  const bool mx = math == TileMath::kMx;
  for (int64_t first = 0; first < args.x.shape[0]; first += kPassTokens) {
    const int64_t tokens = std::min(kPassTokens, args.x.shape[0] - first);
    MoeExpertsArgs pass = args;
    pass.x = {args.x.row(first), {tokens, args.x.shape[1]}};
    pass.experts = {args.experts.row(first), {tokens, args.experts.shape[1]}};
    pass.weight = {args.weight.row(first), {tokens, args.weight.shape[1]}};
    pass.y = {args.y.row(first), {tokens, args.y.shape[1]}};
    // Small tiles stream weights with two blocks a processor; they serve until the mean expert has
    // so many rows that most tiles would be full.
    if (pass.experts.size() <= args.routed.shape[0] * kFewTokens * 3 / 4) {
      (mx ? Run<TileMath::kMx, kFewTokens> : Run<TileMath::kBf16, kFewTokens>)(pass, stream);
    } else {
      (mx ? Run<TileMath::kMx, kManyTokens> : Run<TileMath::kBf16, kManyTokens>)(pass, stream);
    }
  }
}

}  // namespace tandem::kernels::cuda
