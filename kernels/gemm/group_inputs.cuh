// SPDX-License-Identifier: Apache-2.0
// Inputs of few tokens that a block quantises itself, as they are or normed, into shared memory:
// act_quant's codes and scales, the same bits as rms_norm and act_quant make. Each block of
// linear_group does so for itself while its weights are on their way.
//
// Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/launch.h"
#include "kernels/common/dtype.h"
#include "kernels/gemm/stream_inputs.cuh"
#include "kernels/norm/pair_sum.cuh"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/load.cuh"
#include "kernels/quant/act_quant.h"
#include "kernels/quant/lanes.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kPieceColumns = 256;  // that a warp norms at once
inline constexpr int kStageRounds = 4;     // the most pieces of a warp

__device__ __forceinline__ uint4 LoadVector(const uint8_t* row, int vector) {
  return *reinterpret_cast<const uint4*>(row + 16 * vector);
}

// Vector `vector` of a token's row, by the whole warp.
__device__ __forceinline__ void StageVector(const StageSource& from, const uint4& packed, int token,
                                            int vector, bool real, uint8_t* to) {
  LaneValues v;
  Unpack(packed, v);
  Ue8m0 scale;
  const uint2 codes = QuantiseE4M3(v, &scale);
  if (!real) return;
  *reinterpret_cast<uint2*>(to + token * StageStride(from.k) + kLaneValues * vector) = codes;
  uint8_t* scales = to + from.tokens * StageStride(from.k);
  if (vector % 16 == 0) scales[token * (from.k / 128) + vector / 16] = scale.bits;
}

// By the whole block. Waits for the kernel before; `asked` is called once inputs are asked for.
template <typename Asked>
__device__ __forceinline__ void StagePlain(const StageSource& from, uint8_t* to,
                                           const Asked& asked) {
  constexpr int kAhead = 8;  // rounds whose loads are under way at once
  const int row = from.k / kLaneValues,
            rounds = static_cast<int>(Blocks(row * from.tokens, blockDim.x));
  StagePlace place(row, kActGroup / kLaneValues);
  ptx::GridDependencyWait();
  for (int first = 0; first < rounds; first += kAhead) {
    uint4 packed[kAhead];
    StagePlace load = place;
#pragma unroll
    for (int i = 0; i < kAhead; ++i, load.Next()) {
      const bool real = load.token() < from.tokens;
      packed[i] = real ? LoadVector(from.x, load.token() * row + load.vector()) : uint4{};
    }
    if (first == 0) asked();
#pragma unroll
    for (int i = 0; i < kAhead; ++i, place.Next()) {
      if (first + i >= rounds) break;
      StageVector(from, packed[i], place.token(), place.vector(), place.token() < from.tokens, to);
    }
  }
}

// Pieces of K, whose squares are summed apart as rms_norm has it; at most 32.
TANDEM_HOST_DEVICE constexpr int StagePieces(int64_t k) {
  return static_cast<int>((k + kPieceColumns - 1) / kPieceColumns);
}

// Of their sums.
TANDEM_HOST_DEVICE constexpr int64_t NormBytes(const StageSource& from) {
  return from.tokens * StagePieces(from.k) * int64_t{sizeof(PairSum)};
}

// By the whole block, a warp a piece of a token at a time: at most kStageRounds a warp. `sums`:
// room for [token][piece]. Waits for the kernel before once it has the norm's weights; `asked` as
// above.
template <typename Asked>
__device__ __forceinline__ void StageNormed(const StageSource& from, PairSum* sums, uint8_t* to,
                                            const Asked& asked) {
  const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32, row = from.k / kLaneValues;
  const int pieces = StagePieces(from.k), all = from.tokens * pieces;
  uint4 weight[kStageRounds], value[kStageRounds];
  int token[kStageRounds], vector[kStageRounds];
#pragma unroll
  for (int i = 0; i < kStageRounds; ++i) {
    token[i] = (warp + i * warps) / pieces;
    vector[i] = (warp + i * warps - token[i] * pieces) * 32 + lane;
    const bool on = token[i] < from.tokens && vector[i] < row;
    weight[i] = on ? LoadVector(from.norm, vector[i]) : uint4{};
  }
  ptx::GridDependencyWait();
#pragma unroll
  for (int i = 0; i < kStageRounds; ++i) {
    const bool on = token[i] < from.tokens && vector[i] < row;
    value[i] = on ? LoadVector(from.x, token[i] * row + vector[i]) : uint4{};
  }
  asked();
#pragma unroll
  for (int i = 0; i < kStageRounds; ++i) {
    if (warp + i * warps >= all) continue;
    PairSum sum;
    AddSquares(value[i], &sum);
    sum = WarpSum(sum);
    if (lane == 0) sums[warp + i * warps] = sum;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kStageRounds; ++i) {
    if (warp + i * warps >= all) continue;
    const PairSum mine = lane < pieces ? sums[token[i] * pieces + lane] : PairSum{};
    const float r = InverseRms(WarpSum(mine), static_cast<float>(from.k), from.eps);
    StageVector(from, NormAndWeigh(value[i], weight[i], r), token[i], vector[i], vector[i] < row,
                to);
  }
}

// Asks for x while the kernel before still runs: not a read, see PrefetchInputs.
__device__ __forceinline__ void PrefetchPlain(const StageSource& from) {
  if (blockIdx.x >= kPrefetchBlocks) return;
  const int lines = (from.tokens * from.k * 2 + 127) / 128;
  for (int i = static_cast<int>(threadIdx.x); i < lines; i += static_cast<int>(blockDim.x)) {
    ptx::PrefetchL2(from.x + 128 * i);
  }
}

// By the whole block, waiting for the kernel before: inputs in shared memory at `to`, `sums` (room
// for [token][piece]) may be reused. `asked` is called once they are asked for.
template <typename Asked>
__device__ __forceinline__ InputView StageQuantised(const StageSource& from, PairSum* sums,
                                                    uint8_t* to, const Asked& asked) {
  PrefetchPlain(from);
  if (from.norm != nullptr) {
    StageNormed(from, sums, to, asked);
  } else {
    StagePlain(from, to, asked);
  }
  __syncthreads();
  return {.x = to,
          .scale = to + from.tokens * StageStride(from.k),
          .x_stride = static_cast<uint32_t>(StageStride(from.k)),
          .scale_stride = static_cast<uint32_t>(from.k / kActGroup),
          .k = from.k,
          .tokens = from.tokens};
}

}  // namespace tandem::kernels::cuda
