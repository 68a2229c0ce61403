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

template <TileMath kMath, int kTokens>
int64_t SharedBytes() {
  return std::max(TileShape<kMath, kShared, 2, kTokens>::kSharedBytes,
                  TileShape<kMath, kRouted, 2, kTokens>::kSharedBytes);
}

}  // namespace tandem::kernels::cuda
