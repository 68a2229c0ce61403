// SPDX-License-Identifier: Apache-2.0
// One tile of a matrix product on a block: rows of weights in fragment order times tokens.
//
// A block of eight warps takes 8·16·kRowTiles rows and up to kTokens tokens. Every warp owns
// kRowTiles tiles of 16 rows and all tokens, so that a code is made an operand once and then serves
// kTokens/8 products. Weights and tokens come through a ring of stages in shared memory:
//   stage = codes [warp, row tile, load] of 512 bytes as they stand in device memory
//         | FP4 scales [warp, row tile] of 64 bytes
//         | tokens [k32 tile, token] of 64 bytes (bf16) or 32 (codes)
// A lane reads its codes and the eight columns of its token and octet with 16- and 8-byte loads,
// without bank conflicts: fragment order lets both operands take the columns in this order.
//
// Who copies them is a class of its own (tile_stages.cuh, tile_ring.cuh):
//   Begin(steps)               the first stage, when it has come; all of them are on their way
//   Next(stage, step)          the one after the stage of that step
//   AwaitCodes(step), AwaitTokens()  until the next stage's have come
//   Leave(stage, step)         the stage may be filled again
//   End()                      shared memory is free, but for a ring that goes on
// How codes become operands is a class of its own, Shape::kMath says which (tile_dequant.cuh,
// tile_mx.cuh); it keeps what it needs of a warp in registers:
//   A, B               operands of a k32 tile: the warp's rows with all scales; eight tokens
//   Ask(step), Take()  scales from device memory: asked for a step ahead; taken for the next LoadA
//   LoadA(stage, tile, a), Convert(tile, piece, a)   codes from shared memory; one of kPieces of
//                      them made ready
//   LoadB(address)     a lane's part of eight tokens
//   Multiply(a, b, tile, k, first, sums)   step k of kSteps, with blocks `first` and on
//   Finish(sum)        a sum as it is meant, kUnit times it
// Numerics are theirs; no sum depends on the tile's size or on a token's place in it.
// Internal to kernels/gemm and kernels/moe.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/cuda/launch.h"
#include "kernels/gemm/tile_dequant.cuh"
#include "kernels/gemm/tile_mx.cuh"
#include "kernels/gemm/tile_shape.cuh"
#include "kernels/gemm/tile_stages.cuh"

namespace tandem::kernels::cuda {

template <class Shape>
using OperandsOf = std::conditional_t<Shape::kMx, MxOperands<Shape>, DequantOperands<Shape>>;

// The product is a pipeline of groups of a few blocks of tokens: while one group multiplies, the
// next group's tokens are on their way from shared memory and the next k32 tile's codes become
// bf16. Two warps share a scheduler, so nothing may wait for anything that it has just asked for.
template <class Shape, class Stages = CopiedStages<Shape>>
class TileProduct {
 public:
  static constexpr WeightFormat kFormat = Shape::kFormat;
  static constexpr int kRowTiles = Shape::kRowTiles, kTiles = Shape::kStageTiles;

  // `columns`: of x, filled up as in fragment order.
  __device__ TileProduct(Stages& stages, const WeightRows<kRowTiles>& rows,
                         const TokenRows<Shape>& tokens, int columns)
      : stages_(stages),
        steps_(columns / (kTileColumns * kTiles)),
        operands_(rows, tokens, steps_) {}

  // sums += product with the first 8·kActive tokens. All threads that multiply.
  template <int kActive>
  __device__ __forceinline__ void Run(typename Shape::Sums& sums) {
    uint32_t stage = stages_.Begin(steps_);
    using P = Pipeline<kActive>;
    P pipe;
    operands_.Ask(0);
    operands_.Take();
    operands_.Ask(1);
    operands_.LoadA(stage, 0, pipe.a[0]);
#pragma unroll
    for (int piece = 0; piece < Operands::kPieces; ++piece) {
      operands_.Convert(0, piece, pipe.a[0]);
    }
    LoadTokens<P>(pipe.b[0], stage, 0, 0);
    Groups<P, 0, 0, P::kSplit>(stage, stage, 0, pipe, sums);
    const int whole = P::kSplit > 0 ? steps_ - 1 : steps_;
    for (int step = 0; step < whole; ++step) {
      const uint32_t next = stages_.Next(stage, step);
      Step<P>(stage, next, step, pipe, sums);
      stage = next;
    }
    if constexpr (P::kSplit > 0) Step<P, true>(stage, stage, whole, pipe, sums);
    stages_.End();
  }

 private:
  using Operands = OperandsOf<Shape>;

  template <int kActive_>
  struct Pipeline {
    static constexpr int kActive = kActive_;
    // What measured best on sm_90a spilled here and there on sm_120f.
    static constexpr bool kHopper = ptx::kEmulatesMmaBlockScale;
    static constexpr bool kRing = !std::is_same_v<Stages, CopiedStages<Shape>>;
    static constexpr int kMost = !kHopper && kRing ? 2 : Shape::kGroup;
    static constexpr int kGroup = kActive < kMost ? kActive : kMost;
    static constexpr int kGroups = (kActive + kGroup - 1) / kGroup;
    // Where a step of the loop begins and waits: in the middle of a tile's groups. The compiler
    // then spreads the conversion of the next tile over the products before those that want it;
    // at the end of a tile it would let it stand together, and a scheduler's two warps would both
    // do without products for long.
    static constexpr bool kSplits = !Shape::kMx && Operands::kPieces > 0 && kTiles == 2 &&
                                    (kHopper || kRing);
    static constexpr int kSplit = kSplits && kGroups > 2 ? kGroups / 2 : 0;
    // The next tile's codes come in group kSplit; its pieces are converted in the slots, of all
    // groups' steps, from then on.
    static constexpr int kSlots = kGroups * Operands::kSteps;
    static constexpr int kFirstSlot = kSplit * Operands::kSteps + Operands::kSteps - 1;
    static constexpr int SlotOf(int piece) {
      constexpr int kPieces = Operands::kPieces > 0 ? Operands::kPieces : 1;
      return kFirstSlot + piece * (kSlots - kFirstSlot) / kPieces;
    }
    typename Operands::A a[2];          // this tile's, the next one's
    typename Operands::B b[2][kGroup];  // this group's, the next one's
  };

  // From group kSplit of the stage's first tile to there of the next stage's.
  template <class P, bool kLast = false>
  __device__ __forceinline__ void Step(uint32_t stage, uint32_t next, int step, P& pipe,
                                       typename Shape::Sums& sums) {
    Groups<P, 0, P::kSplit, P::kGroups, kLast>(stage, next, step, pipe, sums);
    if constexpr (kTiles == 2) {
      Groups<P, 1, 0, P::kGroups, kLast>(stage, next, step, pipe, sums);
    }
    if constexpr (!kLast) Groups<P, 0, 0, P::kSplit>(next, next, step + 1, pipe, sums);
    if constexpr (kTiles % 2 != 0) pipe.a[0] = pipe.a[1];
    if constexpr (kTiles * P::kGroups % 2 != 0) {
#pragma unroll
      for (int j = 0; j < P::kGroup; ++j) pipe.b[0][j] = pipe.b[1][j];
    }
  }

  // Groups kFrom .. kTo − 1 of a tile, and what comes after them on its way: the next group's
  // tokens, the next tile's rows; kLast: nothing after this step.
  template <class P, int kTile, int kFrom, int kTo, bool kLast = false>
  __device__ __forceinline__ void Groups(uint32_t stage, uint32_t next, int step, P& pipe,
                                         typename Shape::Sums& sums) {
    constexpr bool kLastTile = kTile == kTiles - 1, kEnds = kLastTile && kLast;
    typename Operands::A &a = pipe.a[kTile % 2], &a_next = pipe.a[(kTile + 1) % 2];
#pragma unroll
    for (int group = kFrom; group < kTo; ++group) {
      const int at = kTile * P::kGroups + group;
      if (group == P::kSplit && !kEnds) {
        if (kLastTile) {
          stages_.AwaitCodes(step);
          operands_.Take();
          operands_.Ask(step + 2);
          operands_.LoadA(next, 0, a_next);
        } else {
          operands_.LoadA(stage, kTile + 1, a_next);
        }
      }
      if (group < P::kGroups - 1) {
        LoadTokens<P>(pipe.b[(at + 1) % 2], stage, kTile, group + 1);
      } else if (!kLastTile) {
        LoadTokens<P>(pipe.b[(at + 1) % 2], stage, kTile + 1, 0);
      } else {
        stages_.AwaitTokens();
        if (!kEnds) LoadTokens<P>(pipe.b[(at + 1) % 2], next, 0, 0);
        stages_.Leave(stage, step);
      }
#pragma unroll
      for (int k = 0; k < Operands::kSteps; ++k) {
#pragma unroll
        for (int piece = 0; piece < Operands::kPieces; ++piece) {
          if (!kEnds && P::SlotOf(piece) == group * Operands::kSteps + k) {
            operands_.Convert((kTile + 1) % kTiles, piece, a_next);
          }
        }
        Operands::template Multiply<P>(a, pipe.b[at % 2], kTile, k, group * P::kGroup, sums);
      }
    }
  }

  template <class P>
  __device__ __forceinline__ void LoadTokens(typename Operands::B (&b)[P::kGroup], uint32_t stage,
                                             int tile, int group) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const uint32_t from = stage + Shape::kCodeBytes + Shape::kScaleBytes +
                          tile * Shape::kTokens * Shape::kTokenTileBytes +
                          lane * static_cast<int>(sizeof(typename Operands::B));
#pragma unroll
    for (int j = 0; j < P::kGroup; ++j) {
      const int block = group * P::kGroup + j;
      if (block < P::kActive) b[j] = Operands::LoadB(from + block * 8 * Shape::kTokenTileBytes);
    }
  }

  Stages& stages_;
  const int steps_;
  Operands operands_;
};

// The product on just so many blocks of eight tokens as `rows` want, or one more.
template <class Shape, int kActive, int... kMore, class Stages>
__device__ __forceinline__ void RunFor(int rows, TileProduct<Shape, Stages>& product,
                                       typename Shape::Sums& sums) {
  if constexpr (sizeof...(kMore) > 0) {
    if (rows > 8 * kActive) return RunFor<Shape, kMore...>(rows, product, sums);
  }
  product.template Run<kActive>(sums);
}

}  // namespace tandem::kernels::cuda
