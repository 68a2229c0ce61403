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

  __device__ DequantOperands(const WeightRows<kRowTiles>& rows, const TokenRows<Shape>&, int steps)
      : rows_(rows), steps_(steps) {}

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
    if constexpr (kFormat == WeightFormat::kFp4) half_ ^= 16;
  }

  // The codes of a tile to registers; bf16 is then ready.
  __device__ __forceinline__ void LoadA(uint32_t stage, int tile, A& a) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      const int row_tile = warp * kRowTiles + m;
      const uint32_t codes = stage + row_tile * Shape::kLoads * kWarpLoadBytes + lane * kLoadBytes;
      if constexpr (kFormat == WeightFormat::kBf16) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const uint4 r = ptx::LoadShared16(codes + j * kWarpLoadBytes);
          uint32_t(&step)[4] = a.step[m][j];
          step[0] = r.x, step[1] = r.z, step[2] = r.y, step[3] = r.w;
        }
      } else if constexpr (kFormat == WeightFormat::kFp8) {
        raw_[m] = ptx::LoadShared16(codes + tile * kWarpLoadBytes);
      } else if (tile == 0) {  // one load serves both tiles
        raw_[m] = ptx::LoadShared16(codes);
        const uint32_t words = stage + Shape::kCodeBytes + row_tile * 64 + lane / 4 * 4;
        scale_[m][0] = ptx::LoadShared4(words) >> half_;
        scale_[m][1] = ptx::LoadShared4(words + 32) >> half_;
      }
    }
  }

  // raw_ of a row tile to its operand.
  __device__ __forceinline__ void Convert(int tile, int m, A& a) {
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
      a.step[m][step][0] = low[2 * step];
      a.step[m][step][1] = high[2 * step];
      a.step[m][step][2] = low[2 * step + 1];
      a.step[m][step][3] = high[2 * step + 1];
    }
  }

  static __device__ __forceinline__ B LoadB(uint32_t address) {
    return ptx::LoadShared16(address);
  }

  template <class P>
  static __device__ __forceinline__ void Multiply(const A& a, const B (&b)[P::kGroup], int,
                                                  int first, typename Shape::Sums& sums) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
#pragma unroll
      for (int j = 0; j < P::kGroup; ++j) {
        if (first + j >= P::kActive) continue;
        const uint32_t columns[2] = {step == 0 ? b[j].x : b[j].z, step == 0 ? b[j].y : b[j].w};
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          ptx::MmaBf16(sums[m][first + j], a.step[m][step], columns);
        }
      }
    }
  }

  static __device__ __forceinline__ float Finish(float sum) {
    return kFormat == WeightFormat::kBf16 ? sum : sum * 0x1p40f;
  }

 private:
  // Codes are 2^40 too low times their format's offset (dequant.cuh: 2^126, 2^120).
  static constexpr int kLift = 40;
  static constexpr uint32_t kFp4Factor = 126 - kLift, kFp8Factor = 120 - kLift;

  const WeightRows<kRowTiles> rows_;
  const int steps_;
  uint32_t byte_[kRowTiles], factor_[kRowTiles];
  uint32_t scale_[kRowTiles][2];
  uint32_t half_ = 16;  // bits to drop from scale words: a stage is half of 128 columns
  uint4 raw_[kRowTiles];
};

}  // namespace tandem::kernels::cuda
