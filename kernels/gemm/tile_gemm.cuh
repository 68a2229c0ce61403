// SPDX-License-Identifier: Apache-2.0
// One tile of a matrix product on a block: rows of weights in fragment order times tokens in bf16.
//
// A block of eight warps takes 8·16·kRowTiles rows and up to kTokens tokens. Every warp owns
// kRowTiles tiles of 16 rows and all tokens, so that a code becomes a bf16 once and then serves
// kTokens/8 products. Weights and tokens come through a ring of stages in shared memory (cp.async):
//   stage = codes [warp, row tile, load] of 512 bytes as they stand in device memory
//         | FP4 scales [warp, row tile] of 64 bytes
//         | tokens [k32 tile, token] of 64 bytes
// A lane reads its codes and the eight bf16 of its token and octet with 16-byte loads, without bank
// conflicts: fragment order lets both operands take the columns in this order.
//
// Numerics: codes become bf16 with their scale, exactly, but 2^40 too low (one multiplication
// instead of two; Lift makes up for it): exact for scales 2^-86..2^41. Products are exact, sums
// fp32 in the tensor core over all of K, in ascending steps of 16; they do not depend on the tile's
// size or on a token's place in it. Internal to kernels/gemm and kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/gemm/dequant.cuh"
#include "kernels/gemm/fragment_order.h"
#include "kernels/gemm/tile_shape.cuh"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/mma.cuh"

namespace tandem::kernels::cuda {

// Codes are 2^40 too low times their format's offset (dequant.cuh: 2^126, 2^120).
inline constexpr int kLift = 40;
inline constexpr uint32_t kFp4Factor = 126 - kLift, kFp8Factor = 120 - kLift;
template <class Shape>
__device__ __forceinline__ float Lift(float sum) {
  return Shape::kFormat == WeightFormat::kBf16 ? sum : sum * 0x1p40f;
}

__device__ __forceinline__ uint4 LoadShared16(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address));
  return v;
}
__device__ __forceinline__ uint32_t LoadShared4(uint32_t address) {
  uint32_t v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address));
  return v;
}

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
        steps_(columns / (kTileColumns * kTiles)) {}

  // sums += product with the first 8·kActive tokens. All threads; shared memory is free afterwards.
  template <int kActive>
  __device__ __forceinline__ void Run(typename Shape::Sums& sums) {
    Fill();
    Pipeline<kActive> pipe;
    LoadFactors(0);
    TakeFactors();
    LoadRaw(shared_, 0, pipe.a[0]);
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) Convert(0, m, pipe.a[0]);
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
  // Sixteen rows and 32 columns, as the operand of two steps of m16n8k16.
  using Operand = uint32_t[2][4];

  template <int kActive_>
  struct Pipeline {
    static constexpr int kActive = kActive_;
    static constexpr int kGroup = kActive < Shape::kGroup ? kActive : Shape::kGroup;
    static constexpr int kGroups = (kActive + kGroup - 1) / kGroup;
    // The groups of a tile in which the next tile's rows are converted.
    static constexpr int ConvertGroup(int m) { return m + 1 < kGroups ? m + 1 : kGroups - 1; }
    Operand a[2][kRowTiles];  // this tile's, the next one's
    uint4 b[2][kGroup];       // this group's, the next one's
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
      Operand(&a)[kRowTiles] = pipe.a[tile % 2];
      Operand(&a_next)[kRowTiles] = pipe.a[(tile + 1) % 2];
#pragma unroll
      for (int group = 0; group < P::kGroups; ++group) {
        const int at = tile * P::kGroups + group;
        if (group == 0) {
          if (tile == 0) LoadFactors(step + 1);
          if (last_tile) {
            ptx::CopyAsyncWait<kStages - 2>();  // the next stage's codes are this thread's own
            if constexpr (kFormat == WeightFormat::kFp4) __syncwarp();  // scales are its warp's
            TakeFactors();
            LoadRaw(next, 0, a_next);
          } else {
            LoadRaw(stage, tile + 1, a_next);
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
          if (group == P::ConvertGroup(m)) Convert((tile + 1) % kTiles, m, a_next);
        }
        Multiply<P>(a, pipe.b[at % 2], group * P::kGroup, sums);
      }
    }
    if constexpr (kTiles % 2 != 0) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int i = 0; i < 8; ++i) pipe.a[0][m][i / 4][i % 4] = pipe.a[1][m][i / 4][i % 4];
      }
    }
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
          ptx::CopyAsync16(to + tile * Shape::kTokens * kTokenTileBytes + slot * kTileThreads * 16,
                           tokens_.piece[slot] + tile * kTileColumns);
        }
        tokens_.piece[slot] += kTiles * kTileColumns;
      }
    } else {
      const int tile = thread / Shape::kPieces;
      if (tile >= kTiles || tokens_.piece[0] == nullptr) return;
      ptx::CopyAsync16(to, tokens_.piece[0] + tile * kTileColumns);
      tokens_.piece[0] += kTiles * kTileColumns;
    }
  }

  // kFp8: the scales of a step, asked for a step ahead.
  __device__ __forceinline__ void LoadFactors(int step) {
    if constexpr (kFormat == WeightFormat::kFp8) {
      const int block = min(step, steps_ - 1) * kTiles / 4;
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) byte_[m] = rows_.scales[m][block];
    }
  }
  __device__ __forceinline__ void TakeFactors() {
    if constexpr (kFormat == WeightFormat::kFp8) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) factor_[m] = Bf16Scale(byte_[m] + kFp8Factor);
    }
    if constexpr (kFormat == WeightFormat::kFp4) half_ ^= 16;
  }

  // The codes of a tile to registers; bf16 is then ready.
  __device__ __forceinline__ void LoadRaw(uint32_t stage, int tile, Operand (&a)[kRowTiles]) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      const int row_tile = warp * kRowTiles + m;
      const uint32_t codes = stage + row_tile * Shape::kLoads * kWarpLoadBytes + lane * kLoadBytes;
      if constexpr (kFormat == WeightFormat::kBf16) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const uint4 r = LoadShared16(codes + j * kWarpLoadBytes);
          a[m][j][0] = r.x, a[m][j][1] = r.z, a[m][j][2] = r.y, a[m][j][3] = r.w;
        }
      } else if constexpr (kFormat == WeightFormat::kFp8) {
        raw_[m] = LoadShared16(codes + tile * kWarpLoadBytes);
      } else if (tile == 0) {  // one load serves both tiles
        raw_[m] = LoadShared16(codes);
        const uint32_t words = stage + Shape::kCodeBytes + row_tile * 64 + lane / 4 * 4;
        scale_[m][0] = LoadShared4(words) >> half_;
        scale_[m][1] = LoadShared4(words + 32) >> half_;
      }
    }
  }

  // raw_ of a row tile to its operand.
  __device__ __forceinline__ void Convert(int tile, int m, Operand (&a)[kRowTiles]) {
    if constexpr (kFormat == WeightFormat::kBf16) return;
    uint32_t low[4], high[4];
    const uint4 r = raw_[m];
    if constexpr (kFormat == WeightFormat::kFp4) {
      const uint32_t byte0 = (scale_[m][0] >> (8 * tile)) & 0xFFu;
      const uint32_t byte1 = (scale_[m][1] >> (8 * tile)) & 0xFFu;
      LowBf16sOfFp4(tile == 0 ? r.x : r.z, Bf16Scale(byte0 + kFp4Factor), low);
      LowBf16sOfFp4(tile == 0 ? r.y : r.w, Bf16Scale(byte1 + kFp4Factor), high);
    } else {
      LowBf16sOfFp8(r.x, r.y, factor_[m], low);
      LowBf16sOfFp8(r.z, r.w, factor_[m], high);
    }
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      a[m][step][0] = low[2 * step];
      a[m][step][1] = high[2 * step];
      a[m][step][2] = low[2 * step + 1];
      a[m][step][3] = high[2 * step + 1];
    }
  }

  template <class P>
  __device__ __forceinline__ void LoadTokens(uint4 (&b)[P::kGroup], uint32_t stage, int tile,
                                             int group) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const uint32_t from = stage + Shape::kCodeBytes + Shape::kScaleBytes +
                          tile * Shape::kTokens * kTokenTileBytes + lane * kLoadBytes;
#pragma unroll
    for (int j = 0; j < P::kGroup; ++j) {
      const int block = group * P::kGroup + j;
      if (block < P::kActive) b[j] = LoadShared16(from + block * 8 * kTokenTileBytes);
    }
  }

  template <class P>
  static __device__ __forceinline__ void Multiply(const Operand (&a)[kRowTiles],
                                                  const uint4 (&b)[P::kGroup], int first,
                                                  typename Shape::Sums& sums) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
#pragma unroll
      for (int j = 0; j < P::kGroup; ++j) {
        if (first + j >= P::kActive) continue;
        const uint32_t columns[2] = {step == 0 ? b[j].x : b[j].z, step == 0 ? b[j].y : b[j].w};
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          ptx::MmaBf16(sums[m][first + j], a[m][step], columns);
        }
      }
    }
  }

  const uint32_t shared_;
  WeightRows<kRowTiles> rows_;  // of the step whose copy is next
  TokenRows<Shape> tokens_;
  const int steps_;
  uint32_t byte_[kRowTiles], factor_[kRowTiles];
  uint32_t scale_[kRowTiles][2];
  uint32_t half_ = 16;  // bits to drop from scale words: a stage is half of 128 columns
  uint4 raw_[kRowTiles];
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
