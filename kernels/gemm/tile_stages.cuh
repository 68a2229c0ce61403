// SPDX-License-Identifier: Apache-2.0
// The stages of a tile (tile_gemm.cuh) where every thread copies its part: each warp the codes of
// its own rows, all of them the tokens. Internal to kernels/gemm and kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/gemm/tile_shape.cuh"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {

template <class Shape>
class CopiedStages {
 public:
  static constexpr WeightFormat kFormat = Shape::kFormat;
  static constexpr int kRowTiles = Shape::kRowTiles, kStages = Shape::kStages;
  static constexpr int kTiles = Shape::kStageTiles;

  __device__ CopiedStages(uint8_t* shared, const WeightRows<kRowTiles>& rows,
                          const TokenRows<Shape>& tokens)
      : shared_(ptx::SharedAddress(shared)), rows_(rows), tokens_(tokens) {}

  // Starts all stages, waits for the first.
  __device__ __forceinline__ uint32_t Begin(int steps) {
    steps_ = steps;
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
    return shared_;
  }

  __device__ __forceinline__ uint32_t Next(uint32_t stage, int) const {
    return stage == shared_ + (kStages - 1) * Shape::kStageBytes ? shared_
                                                                 : stage + Shape::kStageBytes;
  }
  // The next stage's codes are this thread's own, its scales this warp's.
  __device__ __forceinline__ void AwaitCodes(int) {
    ptx::CopyAsyncWait<kStages - 2>();
    if constexpr (kFormat == WeightFormat::kFp4) __syncwarp();
  }
  // All have read the stage of this step, and all of the next has come.
  __device__ __forceinline__ void AwaitTokens() {
    __syncthreads();
  }
  __device__ __forceinline__ void Leave(uint32_t stage, int step) {
    if (step + kStages < steps_) {
      CopyWeights(step + kStages, stage);
      CopyTokens(stage);
    }
    ptx::CopyAsyncCommit();
  }
  __device__ __forceinline__ void End() {
    ptx::CopyAsyncWait<0>();
    __syncthreads();
  }

 private:
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

  const uint32_t shared_;
  WeightRows<kRowTiles> rows_;  // of the step whose copy is next
  TokenRows<Shape> tokens_;
  int steps_ = 0;
};

}  // namespace tandem::kernels::cuda
