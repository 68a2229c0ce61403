// SPDX-License-Identifier: Apache-2.0
// The streaming product: y[T,N] = x[T,K]·Wᵀ for T ≤ 64, bound by the stream of W.
//
// A warp takes kRows row tiles (atom.cuh) and a part of K. Weights go through a ring of its own in
// shared memory, the first of them before the kernel waits for the one before it; then inputs are
// read and multiplied as the weights arrive. K is cut into parts (stream_plan.h); a part's steps
// are summed in ascending order from zero, then parts in pairs, then those in ascending order
// through shared memory. Parts depend on the weight's shape and the card alone, so a row's bits do
// not depend on T. Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/launch.h"
#include "kernels/common/dtype.h"
#include "kernels/gemm/stream_atom.cuh"
#include "kernels/gemm/stream_plan.h"
#include "kernels/ptx/async_stream.cuh"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/load.cuh"

namespace tandem::kernels::cuda {

struct StreamArgs {
  WeightView weight;
  const void* x;         // row-major [T, groups, K]
  const uint8_t* scale;  // UE8M0 [T, K/128], or null
  int64_t x_stride;      // elements from token to token
  int64_t group_rows;    // rows of W that share one input of K
  void* y;               // [T, N]
  int64_t tokens;        // 1 .. kStreamTokens
};

// The products of a warp's part of K, step by step, from codes in shared memory. Inputs of one
// column of tokens are loaded a step ahead, of more tile by tile.
template <typename Atom, int kRows, int kColumns>
class StreamSteps {
 public:
  static constexpr int kStepBytes = kRows * Atom::kLoads * kWarpLoadBytes;

  // From step `begin` on. Reads scales of weights.
  __device__ StreamSteps(const WeightView& w, int row_tile, int begin) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      scale_rows_[r] = Atom::ScaleRow(w, row_tile + r, ThisLane()) + begin * Atom::kScaleBytes;
      row_scale_[r] = Atom::LoadRowScale(scale_rows_[r]);
    }
  }

  __device__ void LoadInputs(const InputView& in, int begin) {
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      inputs_[column] = Atom::RowOf(in, column, begin, ThisLane());
      input_scale_[column] = Atom::LoadInputScale(inputs_[column], 0);
    }
    if constexpr (kKeepsInputs) {
#pragma unroll
      for (int tile = 0; tile < Atom::kTiles; ++tile) {
        units_[tile] = Atom::LoadUnit(inputs_[0], tile);
      }
    }
  }

  // `slot`: this lane's codes of the step; `more`: steps follow.
  __device__ void Step(const uint8_t* slot, bool more, float (&total)[kRows][kColumns][4]) {
    typename Atom::Part part[kRows][kColumns];
#pragma unroll
    for (int tile = 0; tile < Atom::kTiles; ++tile) {
      typename Atom::A a[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        uint4 loads[Atom::kLoads];  // only those of the tile are read
#pragma unroll
        for (int i = 0; i < Atom::kLoads; ++i) {
          loads[i] =
              *reinterpret_cast<const uint4*>(slot + (r * Atom::kLoads + i) * kWarpLoadBytes);
        }
        a[r] = Atom::UnpackA(loads, tile);
      }
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
        const typename Atom::B b =
            Atom::UnpackB(kKeepsInputs ? units_[tile] : Atom::LoadUnit(inputs_[column], tile));
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          Atom::Multiply(total[r][column], part[r][column], a[r], b, row_scale_[r],
                         input_scale_[column], tile);
        }
      }
      if (kKeepsInputs && more) units_[tile] = Atom::LoadUnit(inputs_[0], Atom::kTiles + tile);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
        Atom::EndStep(total[r][column], part[r][column], row_scale_[r], input_scale_[column]);
      }
    }
    if (!more) return;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      scale_rows_[r] += Atom::kScaleBytes;
      row_scale_[r] = Atom::LoadRowScale(scale_rows_[r]);
    }
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      Atom::Advance(inputs_[column], 1);
      input_scale_[column] = Atom::LoadInputScale(inputs_[column], 0);
    }
  }

 private:
  static constexpr bool kKeepsInputs = kColumns == 1;

  const uint8_t* scale_rows_[kRows];
  InputRow inputs_[kColumns];
  typename Atom::RowScale row_scale_[kRows];  // of the step at hand
  typename Atom::InputScale input_scale_[kColumns];
  typename Atom::Unit units_[Atom::kTiles];
};

// A warp's walk along its part of K, through a ring of kDepth steps of weights in shared memory. A
// step is copied kDepth steps before it is used; a lane reads back just what it copied, so nobody
// waits for anybody.
template <typename Atom, int kRows, int kColumns, int kDepth>
class StreamWalk {
 public:
  using Steps = StreamSteps<Atom, kRows, kColumns>;
  static constexpr int kStepBytes = Steps::kStepBytes;

  // Steps begin .. end−1 of K, end > begin. Starts the copies of weights.
  __device__ StreamWalk(const WeightView& w, int row_tile, int begin, int end, uint8_t* ring)
      : left_(end - begin), ring_(ring + kLoadBytes * ThreadLane()), steps_(w, row_tile, begin) {
    const int64_t row_loads = LoadsPerRow(Atom::kFormat, w.k);
    loads_left_ = static_cast<int>(row_loads) - Atom::kLoads * begin;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      codes_[r] = w.codes +
                  (int64_t{row_tile + r} * row_loads + Atom::kLoads * begin) * kWarpLoadBytes +
                  kLoadBytes * ThreadLane();
    }
#pragma unroll
    for (int s = 0; s < kDepth; ++s) {
      if (s < left_) CopyCodes(ring_ + s * kStepBytes);
      ptx::CopyAsyncCommit();
    }
  }

  __device__ void Run(const InputView& in, int begin, float (&total)[kRows][kColumns][4]) {
    steps_.LoadInputs(in, begin);
    const uint8_t* end = ring_ + kDepth * kStepBytes;
    for (uint8_t* slot = ring_; left_ > 0; --left_) {
      ptx::CopyAsyncWait<kDepth - 1>();
      steps_.Step(slot, left_ > 1, total);
      if (left_ > kDepth) CopyCodes(slot);
      ptx::CopyAsyncCommit();
      slot = slot + kStepBytes == end ? ring_ : slot + kStepBytes;
    }
  }

 private:
  __device__ static int ThreadLane() {
    return static_cast<int>(threadIdx.x) % 32;
  }

  // The next step's weights.
  __device__ void CopyCodes(uint8_t* slot) {
    const uint32_t to = ptx::SharedAddress(slot);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int i = 0; i < Atom::kLoads; ++i) {
        const int at = (r * Atom::kLoads + i) * kWarpLoadBytes;
        if (Atom::kRagged && i >= loads_left_) {  // half a step at the end of K
          *reinterpret_cast<uint4*>(slot + at) = {};
        } else {
          ptx::CopyAsyncStream16(to + at, codes_[r] + i * kWarpLoadBytes);
        }
      }
      codes_[r] += Atom::kLoads * kWarpLoadBytes;
    }
    loads_left_ -= Atom::kLoads;
  }

  int left_;                     // steps
  int loads_left_;               // in the row, from the next copy on
  uint8_t* ring_;                // this lane's part
  const uint8_t* codes_[kRows];  // of the next copy
  Steps steps_;
};

// Sums of a warp, [token][row] for its kRows·16 rows; padded, so that a store meets every bank
// once.
template <int kRows>
inline constexpr int kSumStride = kRows* kTileRows + 4;

template <int kRows, int kColumns>
__device__ __forceinline__ void KeepSums(const float (&total)[kRows][kColumns][4], int tokens,
                                         float* sums) {
  const Lane lane = ThisLane();
#pragma unroll
  for (int column = 0; column < kColumns; ++column) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = 8 * column + 2 * lane.c + i % 2;
      if (token >= tokens) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        sums[token * kSumStride<kRows> + kTileRows * r + 8 * (i / 2) + lane.g] =
            total[r][column][i];
      }
    }
  }
}

__device__ __forceinline__ void StoreOutput(float* y, int64_t at, float value) {
  y[at] = value;
}
__device__ __forceinline__ void StoreOutput(Bf16* y, int64_t at, float value) {
  y[at] = RoundToBf16(value);
}

// What the rows of a group are multiplied with.
template <typename Atom>
__device__ __forceinline__ InputView InputsOf(const StreamArgs& args, int group) {
  constexpr int kInputBytes = sizeof(typename Atom::Unit) / kUnitCodes;
  return {.x = static_cast<const uint8_t*>(args.x) + group * args.weight.k * kInputBytes,
          .scale = args.scale,
          .x_stride = static_cast<uint32_t>(args.x_stride * kInputBytes),
          .scale_stride = static_cast<uint32_t>(args.weight.k / 128),
          .k = static_cast<int>(args.weight.k),
          .tokens = static_cast<int>(args.tokens)};
}

// Asks for the inputs of steps begin .. end−1 while the kernel before still runs: all arrive at
// once later, wherever they were. Not a read: it moves lines into L2, where that kernel's writes go
// too.
template <typename Atom>
__device__ __forceinline__ void PrefetchInputs(const InputView& in, int begin, int end) {
  constexpr int kLine = 128, kTileBytes = 4 * static_cast<int>(sizeof(typename Atom::Unit));
  const int first = begin * Atom::kTiles * kTileBytes;
  const int last = min(end * Atom::kTiles * kTileBytes, in.k * kTileBytes / kTileColumns);
  const int lines = (last - first + kLine - 1) / kLine, lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = lane; i < in.tokens * lines; i += 32) {
    ptx::PrefetchL2(in.x + static_cast<uint32_t>(i / lines) * in.x_stride + first +
                    i % lines * kLine);
  }
  if (in.scale == nullptr) return;
  for (int i = lane; i < in.tokens; i += 32) {
    ptx::PrefetchL2(in.scale + static_cast<uint32_t>(i) * in.scale_stride + begin);
  }
}

// The sums of all parts of a row tile, `sums` [part][token][row], in order to the outputs; thread
// `thread` of the row tile's warps.
template <typename Output, int kRows>
__device__ __forceinline__ void StoreSums(const StreamArgs& args, const StreamPlan& plan,
                                          int row_tile, const float* sums, int thread) {
  constexpr int kBlockRows = kRows * kTileRows;
  const int tokens = static_cast<int>(args.tokens), part_sums = tokens * kSumStride<kRows>;
  for (int i = thread; i < tokens * kBlockRows; i += 32 << plan.split_bits) {
    const int row = i % kBlockRows, token = i / kBlockRows;
    const float* at = sums + token * kSumStride<kRows> + row;
    float sum = plan.split_bits == 0 ? at[0] : at[0] + at[part_sums];
#pragma unroll 4
    for (int part = 2; part < 1 << plan.split_bits; part += 2) {
      sum += at[part * part_sums] + at[(part + 1) * part_sums];
    }
    const int64_t n = int64_t{row_tile} * kTileRows + row;
    if (n < args.weight.n) {
      StoreOutput(static_cast<Output*>(args.y), token * args.weight.n + n, sum);
    }
  }
}

// Steps of K.
template <typename Atom>
TANDEM_HOST_DEVICE constexpr int StepsOf(int64_t k) {
  const int tiles = static_cast<int>((k + kTileColumns - 1) / kTileColumns);
  return (tiles + Atom::kTiles - 1) / Atom::kTiles;
}

// Registers that a kernel holds without use, so that each thread has more than 64 and a second
// block of 16 warps does not fit beside the first on Hopper. Where the next launch's block fits, a
// chain of launches is slower (wo_a, one token: H100 8.6 µs to 7.7, H200 8.5 to 6.3): its copies
// take bandwidth from those that the kernel at hand still waits for, and are done when memory then
// idles, between two launches. On SM120 shared memory allows one block only.
template <int kCount>
struct HeldRegisters {
  uint32_t held[kCount];
  __device__ HeldRegisters() {
#pragma unroll
    for (uint32_t& r : held) asm volatile("mov.u32 %0, %%clock;" : "=r"(r));
  }
  // A use that the compiler takes for one; `never` is false.
  __device__ void Release(bool never, float* to) const {
    if (!never) return;
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = __uint_as_float(held[i]);
  }
};

// A block has row_warps·split warps; warp = row warp · split + part of K. Block x: rows of a group;
// y: group. Shared memory: sums [row warp][part][token][row], then the warps' rings. Nothing is
// divided before the copies of weights begin: at one token they wait for that.
template <typename Atom, typename Output, int kRows, int kColumns, int kDepth, int kRegisters>
__global__ void __maxnreg__(kRegisters) StreamKernel(StreamArgs args, StreamPlan plan) {
  ptx::GridDependencyLaunch();
  using Walk = StreamWalk<Atom, kRows, kColumns, kDepth>;
  extern __shared__ __align__(16) float shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32, tokens = static_cast<int>(args.tokens);
  const int row_warp = warp >> plan.split_bits, part = warp - (row_warp << plan.split_bits);
  const int part_sums = tokens * kSumStride<kRows>;
  const int group = static_cast<int>(blockIdx.y);
  const int group_tiles = (static_cast<int>(args.group_rows) + kTileRows - 1) / kTileRows;
  const int group_tile = (static_cast<int>(blockIdx.x) * plan.row_warps + row_warp) * kRows;
  const int row_tile = group * group_tiles + group_tile;
  float* sums = shared + row_warp * (part_sums << plan.split_bits);
  // FP8 inputs take more than 64 without.
  constexpr bool kHolds = sizeof(typename Atom::Unit) == 16;
  const HeldRegisters<kHolds ? 24 : 1> held;
  if (group_tile < group_tiles) {
    uint8_t* ring =
        reinterpret_cast<uint8_t*>(shared + plan.row_warps * (part_sums << plan.split_bits)) +
        warp * kDepth * Walk::kStepBytes;
    const int steps = StepsOf<Atom>(args.weight.k);
    const int begin = steps * part >> plan.split_bits;
    const int end = steps * (part + 1) >> plan.split_bits;
    Walk walk(args.weight, row_tile, begin, end, ring);
    const InputView in = InputsOf<Atom>(args, group);
    if (row_warp == 0) PrefetchInputs<Atom>(in, begin, end);
    ptx::GridDependencyWait();
    float total[kRows][kColumns][4] = {};
    walk.Run(in, begin, total);
    held.Release(tokens == 0, shared);
    KeepSums<kRows, kColumns>(total, tokens, sums + part * part_sums);
  }
  if (plan.split_bits == 0) {
    __syncwarp();
  } else {
    __syncthreads();
  }
  if (group_tile < group_tiles) {
    StoreSums<Output, kRows>(args, plan, row_tile, sums,
                             static_cast<int>(threadIdx.x) - (row_warp << (5 + plan.split_bits)));
  }
}

template <typename Atom, typename Output, int kRows, int kColumns, int kDepth, int kRegisters>
void LaunchStream(const char* name, const StreamArgs& args, const StreamPlan& plan,
                  Stream& stream) {
  const int64_t row_groups = (RowTiles(args.group_rows) + kRows - 1) / kRows;
  const int64_t warps = int64_t{plan.row_warps} << plan.split_bits;
  const int64_t warp_bytes = args.tokens * kSumStride<kRows> * int64_t{sizeof(float)} +
                             kDepth * StreamWalk<Atom, kRows, kColumns, kDepth>::kStepBytes;
  Launch({.name = name,
          .grid = dim3(Blocks(row_groups, plan.row_warps),
                       static_cast<unsigned>(args.weight.n / args.group_rows)),
          .threads = static_cast<int>(32 * warps),
          .shared_bytes = warps * warp_bytes},
         stream, StreamKernel<Atom, Output, kRows, kColumns, kDepth, kRegisters>, args, plan);
}

}  // namespace tandem::kernels::cuda
