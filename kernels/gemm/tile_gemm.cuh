// SPDX-License-Identifier: Apache-2.0
// One tile of a matrix product on a block: rows of weights in fragment order times tokens.
//
// A block of eight warps takes 8·16·kRowTiles rows and up to kTokens tokens. Every warp owns
// kRowTiles tiles of 16 rows and all tokens, so that a code is made an operand once and then serves
// kTokens/8 products. Weights and tokens come through a ring of stages in shared memory (cp.async):
//   stage = codes [warp, row tile, load] of 512 bytes as they stand in device memory
//         | FP4 scales [warp, row tile] of 64 bytes
//         | tokens [k32 tile, token] of 64 bytes (bf16) or 32 (codes)
// A lane reads its codes and the eight columns of its token and octet with 16- and 8-byte loads,
// without bank conflicts: fragment order lets both operands take the columns in this order.
//
// How codes become operands is a class of its own, Shape::kMath says which (tile_dequant.cuh,
// tile_mx.cuh); it keeps what it needs of a warp in registers:
//   A, B               operands of a k32 tile: the warp's rows with all scales; eight tokens
//   Ask(step), Take()  scales from device memory: asked for a step ahead; taken for the next LoadA
//   LoadA(stage, tile, a), Convert(tile, m, a)   codes from shared memory; row tile m made ready
//   LoadB(address)     a lane's part of eight tokens
//   Multiply(a, b, tile, first, sums)            with blocks `first` and on
//   Finish(sum)        a sum as it is meant
// Numerics are theirs; no sum depends on the tile's size or on a token's place in it.
// Internal to kernels/gemm and kernels/moe.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/cuda/launch.h"
#include "kernels/gemm/tile_dequant.cuh"
#include "kernels/gemm/tile_mx.cuh"
#include "kernels/gemm/tile_shape.cuh"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {

template <class Shape>
using OperandsOf = std::conditional_t<Shape::kMx, MxOperands<Shape>, DequantOperands<Shape>>;

// The product is a pipeline of groups of a few blocks of tokens: while one group multiplies, the
// next group's tokens are on their way from shared memory and the next k32 tile's codes become
// bf16. Two warps share a scheduler, so nothing may wait for anything that it has just asked for.
template <class Shape>
class TileProduct {
 public:
  static constexpr WeightFormat kFormat = Shape::kFormat;
  static constexpr int kRowTiles = Shape::kRowTiles, kStages = Shape::kStages;
  static constexpr int kTiles = Shape::kStageTiles;

  // `columns`: of x, filled up as in fragment order.
  __device__ TileProduct(uint8_t* shared, const WeightRows<kRowTiles>& rows,
                         const TokenRows<Shape>& tokens, int columns)
      : shared_(ptx::SharedAddress(shared)),
        rows_(rows),
        tokens_(tokens),
        steps_(columns / (kTileColumns * kTiles)),
        operands_(rows, tokens, steps_) {}

  // sums += product with the first 8·kActive tokens. All threads; shared memory is free afterwards.
  template <int kActive>
  __device__ __forceinline__ void Run(typename Shape::Sums& sums) {
    Fill();
    Pipeline<kActive> pipe;
    operands_.Ask(0);
    operands_.Take();
    operands_.Ask(1);
    operands_.LoadA(shared_, 0, pipe.a[0]);
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) operands_.Convert(0, m, pipe.a[0]);
    LoadTokens<Pipeline<kActive>>(pipe.b[0], shared_, 0, 0);
    uint32_t stage = shared_;
    for (int step = 0; step < steps_; ++step) {
      const uint32_t next = stage == shared_ + (kStages - 1) * Shape::kStageBytes
                                ? shared_
                                : stage + Shape::kStageBytes;
      Step<kActive>(stage, next, step, pipe, sums);
      stage = next;
    }
    ptx::CopyAsyncWait<0>();
    __syncthreads();
  }

 private:
  using Operands = OperandsOf<Shape>;

  template <int kActive_>
  struct Pipeline {
    static constexpr int kActive = kActive_;
    static constexpr int kGroup = kActive < Shape::kGroup ? kActive : Shape::kGroup;
    static constexpr int kGroups = (kActive + kGroup - 1) / kGroup;
    // The groups of a tile in which the next tile's rows are converted.
    static constexpr int ConvertGroup(int m) { return m + 1 < kGroups ? m + 1 : kGroups - 1; }
    typename Operands::A a[2];          // this tile's, the next one's
    typename Operands::B b[2][kGroup];  // this group's, the next one's
  };

  // Starts all stages, waits for the first.
  __device__ __forceinline__ void Fill() {
#pragma unroll
    for (int s = 0; s < kStages; ++s) {
      if (s < steps_) CopyWeights(s, shared_ + s * Shape::kStageBytes);
    }
    ptx::GridDependencyWait();  // weights may come before it, tokens may not
#pragma unroll
    for (int s = 0; s < kStages; ++s) {
      if (s < steps_) CopyTokens(shared_ + s * Shape::kStageBytes);
      ptx::CopyAsyncCommit();
    }
    ptx::CopyAsyncWait<kStages - 1>();
    __syncthreads();
  }

  template <int kActive>
  __device__ __forceinline__ void Step(uint32_t stage, uint32_t next, int step,
                                       Pipeline<kActive>& pipe, typename Shape::Sums& sums) {
    using P = Pipeline<kActive>;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      constexpr int kLastGroup = P::kGroups - 1;
      const bool last_tile = tile == kTiles - 1;
      typename Operands::A &a = pipe.a[tile % 2], &a_next = pipe.a[(tile + 1) % 2];
#pragma unroll
      for (int group = 0; group < P::kGroups; ++group) {
        const int at = tile * P::kGroups + group;
        if (group == 0) {
          if (last_tile) {
            ptx::CopyAsyncWait<kStages - 2>();  // the next stage's codes are this thread's own
            if constexpr (kFormat == WeightFormat::kFp4) __syncwarp();  // scales are its warp's
            operands_.Take();
            operands_.Ask(step + 2);
            operands_.LoadA(next, 0, a_next);
          } else {
            operands_.LoadA(stage, tile + 1, a_next);
          }
        }
        if (group < kLastGroup) {
          LoadTokens<P>(pipe.b[(at + 1) % 2], stage, tile, group + 1);
        } else if (!last_tile) {
          LoadTokens<P>(pipe.b[(at + 1) % 2], stage, tile + 1, 0);
        } else {
          __syncthreads();  // all have read this stage, and all of the next has come
          LoadTokens<P>(pipe.b[(at + 1) % 2], next, 0, 0);
          if (step + kStages < steps_) {
            CopyWeights(step + kStages, stage);
            CopyTokens(stage);
          }
          ptx::CopyAsyncCommit();
        }
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          if (group == P::ConvertGroup(m)) operands_.Convert((tile + 1) % kTiles, m, a_next);
        }
        Operands::template Multiply<P>(a, pipe.b[at % 2], tile, group * P::kGroup, sums);
      }
    }
    if constexpr (kTiles % 2 != 0) pipe.a[0] = pipe.a[1];
    if constexpr (kTiles * P::kGroups % 2 != 0) {
#pragma unroll
      for (int j = 0; j < P::kGroup; ++j) pipe.b[0][j] = pipe.b[1][j];
    }
  }

  // Copies are started in ascending order of steps.
  __device__ __forceinline__ void CopyWeights(int step, uint32_t stage) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      const uint32_t to =
          stage + (warp * kRowTiles + m) * Shape::kLoads * kWarpLoadBytes + lane * kLoadBytes;
#pragma unroll
      for (int load = 0; load < Shape::kLoads; ++load) {
        ptx::CopyAsync16(to + load * kWarpLoadBytes, rows_.codes[m] + load * kWarpLoadBytes);
      }
      rows_.codes[m] += Shape::kLoads * kWarpLoadBytes;
    }
    if constexpr (kFormat == WeightFormat::kFp4) {
      if (lane < 4 * kRowTiles) {
        ptx::CopyAsync16(stage + Shape::kCodeBytes + warp * kRowTiles * 64 + lane * 16,
                         rows_.piece + step / 2 * 64);
      }
    }
  }

  __device__ __forceinline__ void CopyTokens(uint32_t stage) {
    const int thread = static_cast<int>(threadIdx.x);
    const uint32_t to = stage + Shape::kCodeBytes + Shape::kScaleBytes + thread * 16;
    if constexpr (Shape::kPieces >= kTileThreads) {
#pragma unroll
      for (int slot = 0; slot < Shape::kSlots; ++slot) {
        if (tokens_.piece[slot] == nullptr) continue;
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          ptx::CopyAsync16(
              to + tile * Shape::kTokens * Shape::kTokenTileBytes + slot * kTileThreads * 16,
              tokens_.piece[slot] + tile * Shape::kTokenTileBytes);
        }
        tokens_.piece[slot] += kTiles * Shape::kTokenTileBytes;
      }
    } else {
      const int tile = thread / Shape::kPieces;
      if (tile >= kTiles || tokens_.piece[0] == nullptr) return;
      ptx::CopyAsync16(to, tokens_.piece[0] + tile * Shape::kTokenTileBytes);
      tokens_.piece[0] += kTiles * Shape::kTokenTileBytes;
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

  const uint32_t shared_;
  WeightRows<kRowTiles> rows_;  // of the step whose copy is next
  TokenRows<Shape> tokens_;
  const int steps_;
  Operands operands_;
};

// The product on just so many blocks of eight tokens as `rows` want, or one more.
template <class Shape, int kActive, int... kMore>
__device__ __forceinline__ void RunFor(int rows, TileProduct<Shape>& product,
                                       typename Shape::Sums& sums) {
  if constexpr (sizeof...(kMore) > 0) {
    if (rows > 8 * kActive) return RunFor<Shape, kMore...>(rows, product, sums);
  }
  product.template Run<kActive>(sums);
}

}  // namespace tandem::kernels::cuda
