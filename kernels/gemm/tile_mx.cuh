// SPDX-License-Identifier: Apache-2.0
// Operands of a tile (tile_gemm.cuh) for the block-scaled product: codes of weights and tokens as
// they are, scales beside them (atom.cuh, Mxf8f6f4).
//
// One register of a lane holds the scales of both row tiles, one those of all tokens: the
// product's selectors pick them (mx_fragment.h). FP4 scales come with the codes through shared
// memory; one scale of 128 columns comes from device memory, a step ahead.
//
// Numerics: products and scales are exact; sums over all of K in the product, in ascending steps
// of 32, K/32 of its roundings (ptx/mma_block_scale.h). Any scales. Internal to kernels/gemm and
// kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/gemm/atom.cuh"
#include "kernels/gemm/mx_fragment.h"
#include "kernels/gemm/tile_shape.cuh"
#include "kernels/ptx/load_shared.cuh"

namespace tandem::kernels::cuda {

template <class Shape>
class MxOperands {
 public:
  static constexpr WeightFormat kFormat = Shape::kFormat;
  static constexpr int kRowTiles = Shape::kRowTiles, kTiles = Shape::kStageTiles;
  static constexpr bool kFp4 = kFormat == WeightFormat::kFp4;
  using Atom = Mxf8f6f4<kFormat>;

  struct A {
    typename Atom::A row_tile[kRowTiles];
    uint32_t row_scales, token_scales;
  };
  using B = uint2;
  static constexpr int kSteps = 1, kPieces = kRowTiles;

  __device__ MxOperands(const WeightRows<kRowTiles>& rows, const TokenRows<Shape>& tokens,
                        int steps)
      : tokens_(tokens), steps_(steps) {
    if constexpr (!kFp4)
      row_scale_ = ScaleTile() == 0 ? rows.scales[0] : rows.scales[kRowTiles - 1];
  }

  __device__ __forceinline__ void Ask(int step) {
    const int block = min(step, steps_ - 1) * kTiles / 4;
#pragma unroll
    for (int i = 0; i < kLaneScales; ++i) {
      token_byte_[i] = tokens_.scale[tokens_.scale_row[i] + block];
    }
    if constexpr (!kFp4) row_byte_ = __ldg(row_scale_ + block);
  }
  __device__ __forceinline__ void Take() {
    token_scales_ =
        token_byte_[0] | token_byte_[1] << 8 | token_byte_[2] << 16 | token_byte_[3] << 24;
    if constexpr (!kFp4) row_scales_ = row_byte_;
    if constexpr (kFp4) half_ ^= 16;
  }

  __device__ __forceinline__ void LoadA(uint32_t stage, int tile, A& a) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      const uint32_t codes =
          stage + (warp * kRowTiles + m) * Shape::kLoads * kWarpLoadBytes + lane * kLoadBytes;
      if (!kFp4) {
        raw_[m] = ptx::LoadShared16(codes + tile * kWarpLoadBytes);
      } else if (tile == 0) {  // one load serves both tiles
        raw_[m] = ptx::LoadShared16(codes);
      }
    }
    if constexpr (kFp4) {
      if (tile == 0) {
        row_scales_ =
            ptx::LoadShared4(stage + Shape::kCodeBytes + (warp * kRowTiles + ScaleTile()) * 64 +
                             MxScaleRow(lane) * 4) >>
            half_;
      }
    }
    a.row_scales = row_scales_;
    a.token_scales = token_scales_;
  }

  __device__ __forceinline__ void Convert(int tile, int m, A& a) {
    a.row_tile[m] = Atom::UnpackA(raw_[m], tile);
  }

  static __device__ __forceinline__ B LoadB(uint32_t address) {
    return ptx::LoadShared8(address);
  }

  template <class P>
  static __device__ __forceinline__ void Multiply(const A& a, const B (&b)[P::kGroup], int tile,
                                                  int, int first, typename Shape::Sums& sums) {
    if constexpr (ptx::kEmulatesMmaBlockScale) {
      Emulate<P>(a, b, tile, first, sums);
    } else {
#pragma unroll
      for (int j = 0; j < P::kGroup; ++j) {
        if (first + j >= P::kActive) continue;
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          Atom::Multiply(sums[m][first + j], a.row_tile[m], Atom::UnpackB(b[j]), a.row_scales,
                         a.token_scales, MxSelect(m, kFp4 ? tile : 0, first + j));
        }
      }
    }
  }

  static constexpr float kUnit = 1.0f;  // a sum's one
  static __device__ __forceinline__ float Finish(float sum) {
    return sum * kUnit;
  }

 private:
  // One emulated product in a loop over the blocks of tokens, whose sums come by in a circle: a
  // hundred of them, one after the other, took ptxas minutes.
  template <class P>
  static __device__ __forceinline__ void Emulate(const A& a, const B (&b)[P::kGroup], int tile,
                                                 int first, typename Shape::Sums& sums) {
    static_assert(P::kActive == Shape::kBlocks && P::kActive % P::kGroup == 0);
    B tokens[P::kGroup];
#pragma unroll
    for (int j = 0; j < P::kGroup; ++j) tokens[j] = b[j];
#pragma unroll 1
    for (int j = 0; j < P::kGroup; ++j) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        float done[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) done[i] = sums[m][0][i];
        Atom::Multiply(done, a.row_tile[m], Atom::UnpackB(tokens[0]), a.row_scales, a.token_scales,
                       MxSelect(m, kFp4 ? tile : 0, first + j));
#pragma unroll
        for (int i = 0; i < 4 * Shape::kBlocks; ++i) {
          sums[m][i / 4][i % 4] =
              i / 4 + 1 < Shape::kBlocks ? sums[m][i / 4 + 1][i % 4] : done[i % 4];
        }
      }
#pragma unroll
      for (int i = 0; i + 1 < P::kGroup; ++i) tokens[i] = tokens[i + 1];
    }
  }

  // The row tile whose scales this lane holds.
  static __device__ __forceinline__ int ScaleTile() {
    return MxScaleTile(static_cast<int>(threadIdx.x) % 32) % kRowTiles;
  }

  const TokenRows<Shape> tokens_;
  const int steps_;
  const uint8_t* row_scale_;
  uint32_t token_byte_[kLaneScales], row_byte_;  // asked for
  uint32_t token_scales_, row_scales_;           // of the last LoadA
  uint32_t half_ = 16;  // bits to drop from scale words: a stage is half of 128 columns
  uint4 raw_[kRowTiles];
};

}  // namespace tandem::kernels::cuda
