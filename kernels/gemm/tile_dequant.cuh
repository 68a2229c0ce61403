// SPDX-License-Identifier: Apache-2.0
// Operands of a tile (tile_gemm.cuh) in bf16: codes become bf16 in registers, once, for bf16
// tokens.
//
// Numerics: codes become bf16 with their scale, exactly, but 2^40 too low (one multiplication
// instead of two; Finish makes up for it): exact for scales 2^-86..2^41. Products are exact, sums
// fp32 in the tensor core over all of K, in ascending steps of 16. Internal to kernels/gemm and
// kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/gemm/dequant.cuh"
#include "kernels/gemm/fragment_order.h"
#include "kernels/gemm/tile_shape.cuh"
#include "kernels/ptx/load_shared.cuh"
#include "kernels/ptx/mma.cuh"

namespace tandem::kernels::cuda {

template <class Shape>
class DequantOperands {
 public:
  static constexpr WeightFormat kFormat = Shape::kFormat;
  static constexpr int kRowTiles = Shape::kRowTiles, kTiles = Shape::kStageTiles;

  struct A {
    uint32_t step[kRowTiles][2][4];  // sixteen rows and 32 columns are two steps of m16n8k16
  };
  using B = uint4;
  static constexpr int kSteps = 2, kPieces = kFormat == WeightFormat::kBf16 ? 0 : 2 * kRowTiles;

  __device__ DequantOperands(const WeightRows<kRowTiles>& rows, const TokenRows<Shape>&, int steps)
      : rows_(rows), steps_(steps) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    codes_ = warp * kRowTiles * Shape::kLoads * kWarpLoadBytes + lane * kLoadBytes;
    words_ = Shape::kCodeBytes + warp * kRowTiles * 64 + lane / 4 * 4;
  }

  // kFp8: the scales of a step; a step behind the last asks for the last.
  __device__ __forceinline__ void Ask(int step) {
    if constexpr (kFormat == WeightFormat::kFp8) {
      const int block = min(step, steps_ - 1) * kTiles / 4;
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) byte_[m] = rows_.scales[m][block];
    }
  }
  __device__ __forceinline__ void Take() {
    if constexpr (kFormat == WeightFormat::kFp8) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) factor_[m] = Bf16Scale(byte_[m] + kFp8Factor);
    }
    if constexpr (kFormat == WeightFormat::kFp4) half_ ^= 0x0202u;
  }

  // The codes of a tile to registers; bf16 is then ready.
  __device__ __forceinline__ void LoadA(uint32_t stage, int tile, A& a) {
    const uint32_t codes = stage + codes_;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      const uint32_t at = codes + m * Shape::kLoads * kWarpLoadBytes;
      if constexpr (kFormat == WeightFormat::kBf16) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const uint4 r = ptx::LoadShared16(at + j * kWarpLoadBytes);
          uint32_t(&step)[4] = a.step[m][j];
          step[0] = r.x, step[1] = r.z, step[2] = r.y, step[3] = r.w;
        }
      } else if constexpr (kFormat == WeightFormat::kFp8) {
        raw_[m] = ptx::LoadShared16(at + tile * kWarpLoadBytes);
      } else if (tile == 0) {  // one load serves both tiles
        raw_[m] = ptx::LoadShared16(at);
        const uint32_t words = stage + words_;
        scale_[m][0] = ptx::LoadShared4(words + m * 64);
        scale_[m][1] = ptx::LoadShared4(words + m * 64 + 32);
      }
    }
  }

  // Rows g (of even pieces) or g + 8 of row tile piece / 2 to its operand.
  __device__ __forceinline__ void Convert(int tile, int piece, A& a) {
    if constexpr (kFormat == WeightFormat::kBf16) return;
    const int m = piece / 2, half = piece % 2;
    const uint4 r = raw_[m];
    uint32_t pairs[4];
    if constexpr (kFormat == WeightFormat::kFp4) {
      const uint32_t bytes = __byte_perm(scale_[m][half], 0, half_ + 0x0101u * tile);
      LowBf16sOfFp4(tile == 0 ? (half == 0 ? r.x : r.y) : (half == 0 ? r.z : r.w),
                    (bytes << 7) + Bf16Scale(kFp4Factor), pairs);
    } else {
      LowBf16sOfFp8(half == 0 ? r.x : r.z, half == 0 ? r.y : r.w, factor_[m], pairs);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) a.step[m][i / 2][half + i % 2 * 2] = pairs[i];
  }

  static __device__ __forceinline__ B LoadB(uint32_t address) {
    return ptx::LoadShared16(address);
  }

  template <class P>
  static __device__ __forceinline__ void Multiply(const A& a, const B (&b)[P::kGroup], int, int k,
                                                  int first, typename Shape::Sums& sums) {
#pragma unroll
    for (int j = 0; j < P::kGroup; ++j) {
      if (first + j >= P::kActive) continue;
      const uint32_t columns[2] = {k == 0 ? b[j].x : b[j].z, k == 0 ? b[j].y : b[j].w};
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        ptx::MmaBf16(sums[m][first + j], a.step[m][k], columns);
      }
    }
  }

  static constexpr float kUnit = kFormat == WeightFormat::kBf16 ? 1.0f : 0x1p40f;  // a sum's one
  static __device__ __forceinline__ float Finish(float sum) {
    return sum * kUnit;
  }

 private:
  // Codes are 2^40 too low times their format's offset (dequant.cuh: 2^126, 2^120).
  static constexpr int kLift = 40;
  static constexpr uint32_t kFp4Factor = 126 - kLift, kFp8Factor = 120 - kLift;

  const WeightRows<kRowTiles> rows_;
  const int steps_;
  uint32_t codes_, words_;  // offsets in a stage of the first row tile's codes and FP4 scales
  uint32_t byte_[kRowTiles], factor_[kRowTiles];
  uint32_t scale_[kRowTiles][2];
  // Of the four scales of 128 columns, a stage's first, to both halves of a word.
  uint32_t half_ = 0x4242u;
  uint4 raw_[kRowTiles];
};

}  // namespace tandem::kernels::cuda
