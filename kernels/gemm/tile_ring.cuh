// SPDX-License-Identifier: Apache-2.0
// The stages of the largest tiles (tile_gemm.cuh) where four warps only fill and eight only
// multiply, tile after tile: while one tile is stored, the next one's operands are already coming.
//
// A block stays on its multiprocessor and takes every so many-th tile. The ring of stages goes
// round without a break from tile to tile, whatever their formats; a stage has two mbarriers:
//   full   the fillers' copies into it have come
//   empty  the eight warps have read them
// The fillers need no sums: they give registers to those who multiply. On an H200 the
// largest products take 3 to 6 % less time than with copies by all warps. Internal to kernels/gemm
// and kernels/moe.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/gemm/tile_shape.cuh"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/mbarrier.cuh"
#include "kernels/ptx/mma_block_scale.cuh"
#include "kernels/ptx/register_count.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kFillThreads = 128;
inline constexpr int kRingThreads = kTileThreads + kFillThreads;
inline constexpr int kRingBarriers = 98304;                             // where they stand
inline constexpr int kRingBytes = kRingBarriers + 2 * 8 * kMostStages;  // shared memory
// A block has what its launch gave it: 168 a thread. With what is best on sm_90a the fillers
// spilled on sm_120f.
inline constexpr int kFillRegisters = ptx::kEmulatesMmaBlockScale ? 56 : 72;
inline constexpr int kMultiplyRegisters = ptx::kEmulatesMmaBlockScale ? 224 : 216;
static_assert(kFillThreads * kFillRegisters + kTileThreads * kMultiplyRegisters <=
              kRingThreads * 168);

// Tiles that go through a ring.
template <class Shape>
inline constexpr bool kRings = !Shape::kMx && Shape::kRowTiles == 2 && Shape::kTokens == 128 &&
                               Shape::kFormat != WeightFormat::kBf16;

// A stage, of at most kStageBytes, and how often the ring has come to it, odd or even.
template <int kStageBytes>
struct RingPlace {
  static constexpr int kBytes = kStageBytes;
  static constexpr int kStages = std::min(kRingBarriers / kStageBytes, kMostStages);
  uint32_t shared;  // of the ring
  int stage = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ uint32_t address() const { return shared + stage * kStageBytes; }
  __device__ __forceinline__ uint32_t full() const { return shared + kRingBarriers + 8 * stage; }
  __device__ __forceinline__ uint32_t empty() const {
    return shared + kRingBarriers + 8 * (kStages + stage);
  }
  __device__ __forceinline__ void Advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

// Stages as those who multiply see them; one for all tiles of a block.
template <int kStageBytes>
class FilledStages {
 public:
  explicit __device__ FilledStages(uint32_t shared) : place_{shared} {}

  __device__ __forceinline__ uint32_t Begin(int steps) {
    steps_ = steps;
    ptx::WaitMbarrier(place_.full(), place_.parity);
    return place_.address();
  }
  // Behind the last step nothing is awaited: its own stage is read once more, in vain.
  __device__ __forceinline__ uint32_t Next(uint32_t stage, int step) const {
    RingPlace<kStageBytes> next = place_;
    next.Advance();
    return step + 1 < steps_ ? next.address() : stage;
  }
  __device__ __forceinline__ void AwaitCodes(int step) {
    RingPlace<kStageBytes> next = place_;
    next.Advance();
    if (step + 1 < steps_) ptx::WaitMbarrier(next.full(), next.parity);
  }
  __device__ __forceinline__ void AwaitTokens() {}
  __device__ __forceinline__ void Leave(uint32_t, int) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) ptx::ArriveMbarrier(place_.empty());
    place_.Advance();
  }
  __device__ __forceinline__ void End() {}

 private:
  RingPlace<kStageBytes> place_;
  int steps_ = 0;
};

// Where the codes and scales of a row tile stand.
struct RowTileAddress {
  const uint8_t *codes, *scales;
};
template <class Shape>
__device__ __forceinline__ RowTileAddress RowTileOf(const uint8_t* prepared, int64_t n, int64_t k,
                                                    int64_t tile) {
  return {prepared + tile * LoadsPerRow(Shape::kFormat, k) * kWarpLoadBytes,
          prepared + FragmentScaleOffset(Shape::kFormat, n, k) + tile * (k / 128) * 64};
}

inline constexpr uint32_t kNoToken = 0xFFFFFFFFu;

// Fills the stages of a tile. By kFillThreads threads behind the kTileThreads that multiply.
// row_tile(i): RowTileAddress of the block's row tile i; row_of(i): row of x of token i < rows.
// (Bulk copies of the weights were slower: an instruction of 512 bytes took a hundred cycles.)
template <class Shape, class Place, class RowTile, class RowOf>
__device__ __forceinline__ void FillTile(Place& place, const RowTile& row_tile,
                                         const TokenMatrix& x, int rows, const RowOf& row_of,
                                         int steps) {
  constexpr int kTiles = Shape::kStageTiles, kCodes = Shape::kLoads * kWarpLoadBytes;
  constexpr int kRowTiles = kTileWarps * Shape::kRowTiles, kWarps = kFillThreads / 32;
  constexpr int kTokenPieces = Shape::kTokenPieces, kSlots = Shape::kPieces / kFillThreads;
  static_assert(Shape::kStageBytes <= Place::kBytes && kRowTiles % kWarps == 0);
  const int thread = static_cast<int>(threadIdx.x) - kTileThreads;
  const int warp = thread / 32, lane = thread % 32;
  uint32_t token[kSlots];  // offsets in x, in pieces of 16 bytes: registers are short
#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot) {
    const int i = (thread + slot * kFillThreads) / kTokenPieces;
    token[slot] = i < rows ? static_cast<uint32_t>(row_of(i) * (x.row_bytes / 16)) : kNoToken;
  }
  const uint8_t* codes[kRowTiles / kWarps];  // of row tiles warp, warp + kWarps …
#pragma unroll
  for (int i = 0; i < kRowTiles / kWarps; ++i) {
    codes[i] = row_tile(warp + i * kWarps).codes + lane * kLoadBytes;
  }
  const bool has_scale = Shape::kScaleBytes > 0 && thread < kRowTiles * 4;
  const uint8_t* const scale = has_scale ? row_tile(thread / 4).scales + thread % 4 * 16 : nullptr;
  const uint8_t* x_from = x.x + thread % kTokenPieces * 16;
  for (int step = 0; step < steps; ++step) {
    ptx::WaitMbarrier(place.empty(), place.parity ^ 1);
    const uint32_t stage = place.address();
#pragma unroll
    for (int i = 0; i < kRowTiles / kWarps; ++i) {
#pragma unroll
      for (int load = 0; load < Shape::kLoads; ++load) {
        ptx::CopyAsync16(
            stage + (warp + i * kWarps) * kCodes + load * kWarpLoadBytes + lane * kLoadBytes,
            codes[i] + load * kWarpLoadBytes);
      }
      codes[i] += kCodes;
    }
    if (has_scale) {
      ptx::CopyAsync16(stage + Shape::kCodeBytes + thread * 16, scale + step / 2 * 64);
    }
    const uint32_t to = stage + Shape::kCodeBytes + Shape::kScaleBytes + thread * 16;
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      if (token[slot] == kNoToken) continue;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        ptx::CopyAsync16(
            to + tile * Shape::kTokens * Shape::kTokenTileBytes + slot * kFillThreads * 16,
            x_from + int64_t{16} * token[slot] + tile * Shape::kTokenTileBytes);
      }
    }
    x_from += kTiles * Shape::kTokenTileBytes;
    ptx::ArriveMbarrierAfterCopies(place.full());
    place.Advance();
  }
}

// fill(RingPlace<…>&) by the fillers, multiply(FilledStages<…>&) by the others, both over all tiles
// of the block. `shared`: kRingBytes. What comes before in the stream is waited for first.
template <int kStageBytes, class Fill, class Multiply>
__device__ __forceinline__ void RunRing(uint8_t* shared, const Fill& fill,
                                        const Multiply& multiply) {
  RingPlace<kStageBytes> place = {ptx::SharedAddress(shared)};
  if (threadIdx.x == 0) {
    for (; place.parity == 0; place.Advance()) {
      ptx::InitMbarrier(place.full(), kFillThreads);
      ptx::InitMbarrier(place.empty(), kTileWarps);
    }
  }
  __syncthreads();
  ptx::GridDependencyWait();
  if (threadIdx.x >= kTileThreads) {
    ptx::GiveRegisters<kFillRegisters>();
    place = {ptx::SharedAddress(shared)};
    fill(place);
  } else {
    ptx::TakeRegisters<kMultiplyRegisters>();
    FilledStages<kStageBytes> stages(ptx::SharedAddress(shared));
    multiply(stages);
  }
}

}  // namespace tandem::kernels::cuda
