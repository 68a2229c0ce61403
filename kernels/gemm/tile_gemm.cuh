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
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/mma.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kTileWarps = 8;
inline constexpr int kTileThreads = 32 * kTileWarps;
inline constexpr int kTokenTileBytes = 2 * kTileColumns;  // of one token in one k32 tile
inline constexpr int kMostStages = 6;                     // more do not help
inline constexpr int kStagesBytes = 98304;                // of kMaxSharedBytes; the rest is static

template <WeightFormat kFormat_, int kRowTiles_, int kTokens_>
struct TileShape {
  static constexpr WeightFormat kFormat = kFormat_;
  static constexpr int kRowTiles = kRowTiles_;  // a warp
  static constexpr int kTokens = kTokens_;
  static constexpr int kBlocks = kTokens / 8;
  static constexpr int kRows = kTileWarps * kRowTiles * kTileRows;
  static constexpr int kStageTiles = kFormat == WeightFormat::kBf16 ? 1 : 2;  // k32 tiles
  static constexpr int kLoads = kStageTiles * kTileColumns / LoadColumns(kFormat);
  static constexpr int kCodeBytes = kTileWarps * kRowTiles * kLoads * kWarpLoadBytes;
  static constexpr int kScaleBytes =
      kFormat == WeightFormat::kFp4 ? kTileWarps * kRowTiles * 64 : 0;
  static constexpr int kTokenBytes = kStageTiles * kTokens * kTokenTileBytes;
  static constexpr int kStageBytes = kCodeBytes + kScaleBytes + kTokenBytes;
  static constexpr int kStages =
      kStagesBytes / kStageBytes < kMostStages ? kStagesBytes / kStageBytes : kMostStages;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  // 16-byte pieces of one k32 tile's tokens, and how many of them a thread copies.
  static constexpr int kPieces = kTokens * 4;
  static constexpr int kSlots = kPieces > kTileThreads ? kPieces / kTileThreads : 1;
  // Two blocks a multiprocessor where registers allow: one loads while the other ends.
  static constexpr int kBlocksPerProcessor = kRowTiles * kTokens <= 64 ? 2 : 1;
  static_assert(kStages >= 3);

  using Sums = float[kRowTiles][kBlocks][4];
};

// Where a lane finds the codes and scales of its warp's row tiles.
template <int kRowTiles>
struct WeightRows {
  const uint8_t* codes[kRowTiles];   // the lane's 16 bytes of the first load
  const uint8_t* scales[kRowTiles];  // kFp8: the byte of the first 128 columns
  const uint8_t* piece;              // kFp4: 16 bytes of scales, of row tile lane / 4
};

// Sets row tile m to `tile` (of 16 rows, counted from the weight's start) of a prepared weight of
// n rows and k columns.
template <class Shape>
__device__ __forceinline__ void SetRowTile(WeightRows<Shape::kRowTiles>& rows, int m,
                                           const uint8_t* prepared, int64_t n, int64_t k,
                                           int64_t tile) {
  constexpr WeightFormat kFormat = Shape::kFormat;
  rows.codes[m] = prepared + tile * LoadsPerRow(kFormat, k) * kWarpLoadBytes +
                  static_cast<int>(threadIdx.x % 32) * kLoadBytes;
  const uint8_t* scales = prepared + FragmentScaleOffset(kFormat, n, k);
  if constexpr (kFormat == WeightFormat::kFp4) {
    if (threadIdx.x % 32 / 4 == m)
      rows.piece = scales + tile * (k / 128) * 64 + threadIdx.x % 4 * 16;
  } else {
    rows.scales[m] = scales + tile / 8 * (k / 128);
  }
}

// Which 16-byte pieces of its tokens a thread copies.
template <class Shape>
struct TokenRows {
  const Bf16* piece[Shape::kSlots];  // in the first k32 tile; null: no such token
};
// The token of a thread's slot, 0..kTokens-1.
template <class Shape>
__device__ __forceinline__ int TokenOfSlot(int slot) {
  return static_cast<int>(threadIdx.x) % Shape::kPieces / 4 + slot * (kTileThreads / 4);
}
__device__ __forceinline__ int OctetOfThread() {
  return static_cast<int>(threadIdx.x) % 4 * kUnitCodes;
}

// Codes are 2^40 too low times their format's offset (dequant.cuh: 2^126, 2^120).
inline constexpr int kLift = 40;
inline constexpr uint32_t kFp4Factor = 126 - kLift, kFp8Factor = 120 - kLift;
template <class Shape>
__device__ __forceinline__ float Lift(float sum) {
  return Shape::kFormat == WeightFormat::kBf16 ? sum : sum * 0x1p40f;
}

__device__ __forceinline__ void LowBf16sOfFp4(uint32_t unit, uint32_t factor,
                                              uint32_t (&pairs)[4]) {
  constexpr uint32_t kSign = 0x80008000u, kMagnitude = 0x01C001C0u;
  pairs[0] = MultiplyBf16(((unit << 12) & kSign) | ((unit << 6) & kMagnitude), factor);
  pairs[1] = MultiplyBf16(((unit << 8) & kSign) | ((unit << 2) & kMagnitude), factor);
  pairs[2] = MultiplyBf16(((unit << 4) & kSign) | ((unit >> 2) & kMagnitude), factor);
  pairs[3] = MultiplyBf16((unit & kSign) | ((unit >> 6) & kMagnitude), factor);
}

__device__ __forceinline__ void LowBf16sOfFp8(uint32_t low, uint32_t high, uint32_t factor,
                                              uint32_t (&pairs)[4]) {
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    const uint32_t wide = __byte_perm(p < 2 ? low : high, 0, p % 2 == 0 ? 0x1404 : 0x3424);
    pairs[p] = MultiplyBf16((wide & 0x80008000u) | ((wide & 0x7F007F00u) >> 4), factor);
  }
}

template <class Shape>
class TileProduct {
 public:
  static constexpr WeightFormat kFormat = Shape::kFormat;
  static constexpr int kRowTiles = Shape::kRowTiles, kStages = Shape::kStages;

  // `k`: columns, filled up as in fragment order.
  __device__ TileProduct(uint8_t* shared, const WeightRows<kRowTiles>& rows,
                         const TokenRows<Shape>& tokens, int k)
      : shared_(shared),
        rows_(rows),
        tokens_(tokens),
        steps_(k / (kTileColumns * Shape::kStageTiles)) {}

  // sums += product with the first 8·kActive tokens. All threads; shared memory is free afterwards.
  template <int kActive>
  __device__ __forceinline__ void Run(typename Shape::Sums& sums) {
#pragma unroll
    for (int s = 0; s < kStages - 1; ++s) {
      if (s < steps_) CopyWeights(s, s);
    }
    ptx::GridDependencyWait();  // weights may come before it, tokens may not
#pragma unroll
    for (int s = 0; s < kStages - 1; ++s) {
      if (s < steps_) CopyTokens(s, s);
      ptx::CopyAsyncCommit();
    }
    LoadFactors(0);
    int read = 0, write = kStages - 1;
    for (int s = 0; s < steps_; ++s) {
      ptx::CopyAsyncWait<kStages - 2>();
      __syncthreads();
      const int ahead = s + kStages - 1;
      if (ahead < steps_) {
        CopyWeights(ahead, write);
        CopyTokens(ahead, write);
      }
      ptx::CopyAsyncCommit();
      Step<kActive>(shared_ + read * Shape::kStageBytes, s, sums);
      read = read + 1 == kStages ? 0 : read + 1;
      write = write + 1 == kStages ? 0 : write + 1;
    }
    ptx::CopyAsyncWait<0>();
    __syncthreads();
  }

 private:
  __device__ __forceinline__ void CopyWeights(int step, int stage) {
    uint8_t* const at = shared_ + stage * Shape::kStageBytes;
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      uint8_t* const to = at + (warp * kRowTiles + m) * Shape::kLoads * kWarpLoadBytes;
#pragma unroll
      for (int load = 0; load < Shape::kLoads; ++load) {
        ptx::CopyAsync16(to + load * kWarpLoadBytes + lane * kLoadBytes,
                         rows_.codes[m] + (step * Shape::kLoads + load) * kWarpLoadBytes);
      }
    }
    if (kFormat == WeightFormat::kFp4 && lane < 4 * kRowTiles) {
      ptx::CopyAsync16(at + Shape::kCodeBytes + warp * kRowTiles * 64 + lane * 16,
                       rows_.piece + step / 2 * 64);
    }
  }

  __device__ __forceinline__ void CopyTokens(int step, int stage) {
    uint8_t* const at =
        shared_ + stage * Shape::kStageBytes + Shape::kCodeBytes + Shape::kScaleBytes;
    const int thread = static_cast<int>(threadIdx.x);
    if constexpr (Shape::kPieces >= kTileThreads) {
#pragma unroll
      for (int slot = 0; slot < Shape::kSlots; ++slot) {
        if (tokens_.piece[slot] == nullptr) continue;
#pragma unroll
        for (int tile = 0; tile < Shape::kStageTiles; ++tile) {
          ptx::CopyAsync16(
              at + tile * Shape::kTokens * kTokenTileBytes + (slot * kTileThreads + thread) * 16,
              tokens_.piece[slot] + (step * Shape::kStageTiles + tile) * kTileColumns);
        }
      }
    } else {
      const int tile = thread / Shape::kPieces;
      if (tile < Shape::kStageTiles && tokens_.piece[0] != nullptr) {
        ptx::CopyAsync16(at + thread * 16,
                         tokens_.piece[0] + (step * Shape::kStageTiles + tile) * kTileColumns);
      }
    }
  }

  // kFp8: the factor of a step's 128 columns, loaded one step ahead of its use.
  __device__ __forceinline__ void LoadFactors(int step) {
    if constexpr (kFormat == WeightFormat::kFp8) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) byte_[m] = rows_.scales[m][step * Shape::kStageTiles / 4];
    }
  }

  // Sixteen rows and 32 columns, as the operand of two steps of m16n8k16.
  using Operand = uint32_t[2][4];

  static __device__ __forceinline__ void Arrange(const uint32_t (&low)[4],
                                                 const uint32_t (&high)[4], Operand& a) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      a[step][0] = low[2 * step];
      a[step][1] = high[2 * step];
      a[step][2] = low[2 * step + 1];
      a[step][3] = high[2 * step + 1];
    }
  }

  template <int kActive>
  __device__ __forceinline__ void Step(const uint8_t* stage, int step, typename Shape::Sums& sums) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const uint8_t* const codes =
        stage + warp * kRowTiles * Shape::kLoads * kWarpLoadBytes + lane * kLoadBytes;
    const uint8_t* const tokens =
        stage + Shape::kCodeBytes + Shape::kScaleBytes + lane * kLoadBytes;
    uint4 raw[kRowTiles][Shape::kLoads];
    uint32_t scale[kRowTiles][2] = {}, factor[kRowTiles] = {};
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int load = 0; load < Shape::kLoads; ++load) {
        raw[m][load] =
            *reinterpret_cast<const uint4*>(codes + (m * Shape::kLoads + load) * kWarpLoadBytes);
      }
      if constexpr (kFormat == WeightFormat::kFp4) {
        const uint8_t* const words =
            stage + Shape::kCodeBytes + (warp * kRowTiles + m) * 64 + lane / 4 * 4;
        scale[m][0] = *reinterpret_cast<const uint32_t*>(words) >> (step % 2 * 16);
        scale[m][1] = *reinterpret_cast<const uint32_t*>(words + 32) >> (step % 2 * 16);
      }
      if constexpr (kFormat == WeightFormat::kFp8) factor[m] = Bf16Scale(byte_[m] + kFp8Factor);
    }
    if (step + 1 < steps_) LoadFactors(step + 1);
#pragma unroll
    for (int tile = 0; tile < Shape::kStageTiles; ++tile) {
      Operand a[kRowTiles];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        uint32_t low[4], high[4];
        if constexpr (kFormat == WeightFormat::kFp4) {
          const uint32_t byte0 = (scale[m][0] >> (8 * tile)) & 0xFFu;
          const uint32_t byte1 = (scale[m][1] >> (8 * tile)) & 0xFFu;
          const uint4 r = raw[m][0];
          LowBf16sOfFp4(tile == 0 ? r.x : r.z, Bf16Scale(byte0 + kFp4Factor), low);
          LowBf16sOfFp4(tile == 0 ? r.y : r.w, Bf16Scale(byte1 + kFp4Factor), high);
          Arrange(low, high, a[m]);
        } else if constexpr (kFormat == WeightFormat::kFp8) {
          const uint4 r = raw[m][tile];
          LowBf16sOfFp8(r.x, r.y, factor[m], low);
          LowBf16sOfFp8(r.z, r.w, factor[m], high);
          Arrange(low, high, a[m]);
        } else {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const uint4 r = raw[m][j];
            a[m][j][0] = r.x, a[m][j][1] = r.z, a[m][j][2] = r.y, a[m][j][3] = r.w;
          }
        }
      }
      Multiply<kActive>(tokens + tile * Shape::kTokens * kTokenTileBytes, a, sums);
    }
  }

  // Groups of four blocks of tokens: eight products lie between two that add to the same sums.
  template <int kActive>
  static __device__ __forceinline__ void Multiply(const uint8_t* tokens,
                                                  const Operand (&a)[kRowTiles],
                                                  typename Shape::Sums& sums) {
    constexpr int kGroup = kActive < 4 ? kActive : 4;
#pragma unroll
    for (int first = 0; first < kActive; first += kGroup) {
      uint4 b[kGroup];
#pragma unroll
      for (int j = 0; j < kGroup; ++j) {
        if (first + j >= kActive) continue;
        b[j] = *reinterpret_cast<const uint4*>(tokens + (first + j) * 8 * kTokenTileBytes);
      }
#pragma unroll
      for (int step = 0; step < 2; ++step) {
#pragma unroll
        for (int j = 0; j < kGroup; ++j) {
          if (first + j >= kActive) continue;
          const uint32_t columns[2] = {step == 0 ? b[j].x : b[j].z, step == 0 ? b[j].y : b[j].w};
#pragma unroll
          for (int m = 0; m < kRowTiles; ++m) {
            ptx::MmaBf16(sums[m][first + j], a[m][step], columns);
          }
        }
      }
    }
  }

  uint8_t* const shared_;
  const WeightRows<kRowTiles> rows_;
  const TokenRows<Shape> tokens_;
  const int steps_;
  uint32_t byte_[kRowTiles];
};

}  // namespace tandem::kernels::cuda
