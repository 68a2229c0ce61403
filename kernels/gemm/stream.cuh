// SPDX-License-Identifier: Apache-2.0
// The streaming product: y[T,N] = x[T,K]·Wᵀ for T ≤ 64, bound by the stream of W.
//
// A warp takes a row tile (atom.cuh) and a part of K. Weights go through a ring of its own
// (stream_ring.cuh), the first of them before the kernel waits for the one before it; then inputs
// are read, to shared memory where there is room, and multiplied as the weights arrive. K is cut
// into parts (stream_plan.h); a part's steps are summed in ascending order from zero, then parts in
// pairs, then those in ascending order through shared memory. Parts depend on the weight's shape
// and the card alone, so a row's bits do not depend on T. Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/launch.h"
#include "kernels/common/dtype.h"
#include "kernels/gemm/group_inputs.cuh"
#include "kernels/gemm/stream_atom.cuh"
#include "kernels/gemm/stream_inputs.cuh"
#include "kernels/gemm/stream_plan.h"
#include "kernels/gemm/stream_ring.cuh"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/load.cuh"

namespace tandem::kernels::cuda {

// The products of a warp's part of K, step by step. Inputs of one column of tokens are loaded a
// step ahead; of more, or from shared memory (kStaged), as they are used.
template <typename Atom, int kColumns, bool kStaged = false>
class StreamSteps {
 public:
  static constexpr int kStepBytes = Atom::kLoads * kWarpLoadBytes;
  struct Codes {
    uint4 load[Atom::kLoads];
    __device__ uint32_t OneOfEach() const {
      uint32_t words = load[0].x;
#pragma unroll
      for (int i = 1; i < Atom::kLoads; ++i) words |= load[i].x;
      return words;
    }
  };

  // From step `begin` on. Reads scales of weights.
  __device__ void LoadScales(const WeightView& w, int row_tile, int begin) {
    scale_row_ = Atom::ScaleRow(w, row_tile, ThisLane()) + begin * Atom::kScaleBytes;
    row_scale_ = Atom::LoadRowScale(scale_row_);
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

  // This lane's codes of a step, of which `loads` are there; zeros behind them.
  __device__ static Codes LoadCodes(const uint8_t* slot, int loads) {
    Codes codes;
#pragma unroll
    for (int i = 0; i < Atom::kLoads; ++i) {
      codes.load[i] = *reinterpret_cast<const uint4*>(slot + i * kWarpLoadBytes);
      if (Atom::kRagged && i >= loads) codes.load[i] = {};
    }
    return codes;
  }

  // `more`: steps follow.
  __device__ void Step(const Codes& codes, bool more, float (&total)[1][kColumns][4]) {
    typename Atom::Part part[kColumns];
#pragma unroll
    for (int tile = 0; tile < Atom::kTiles; ++tile) {
      const typename Atom::A a = Atom::UnpackA(codes.load, tile);
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
        const typename Atom::B b =
            Atom::UnpackB(kKeepsInputs ? units_[tile] : Atom::LoadUnit(inputs_[column], tile));
        Atom::Multiply(total[0][column], part[column], a, b, row_scale_, input_scale_[column],
                       tile);
      }
      if (kKeepsInputs && more) units_[tile] = Atom::LoadUnit(inputs_[0], Atom::kTiles + tile);
    }
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      Atom::EndStep(total[0][column], part[column], row_scale_, input_scale_[column]);
    }
    if (!more) return;
    scale_row_ += Atom::kScaleBytes;
    row_scale_ = Atom::LoadRowScale(scale_row_);
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      Atom::Advance(inputs_[column], 1);
      input_scale_[column] = Atom::LoadInputScale(inputs_[column], 0);
    }
  }

 private:
  static constexpr bool kKeepsInputs = kColumns == 1 && !kStaged;

  const uint8_t* scale_row_;
  InputRow inputs_[kColumns];
  typename Atom::RowScale row_scale_;  // of the step at hand
  typename Atom::InputScale input_scale_[kColumns];
  typename Atom::Unit units_[Atom::kTiles];
};

// A warp's walk along its part of K, through a ring of kDepth steps of weights.
template <typename Atom, int kColumns, bool kStaged, int kDepth>
class StreamWalk {
 public:
  using Steps = StreamSteps<Atom, kColumns, kStaged>;
  using Ring = StreamRing<kDepth, Steps::kStepBytes>;

  // Steps begin .. end−1 of K, end > begin. Starts the copies of the first step's weights.
  __device__ StreamWalk(const WeightView& w, int row_tile, int begin, int end, uint8_t* slots,
                        uint8_t* barriers)
      : left_(end - begin), ring_(slots, barriers) {
    const int row_loads = static_cast<int>(LoadsPerRow(Atom::kFormat, w.k));
    loads_left_ = row_loads - Atom::kLoads * begin;
    codes_ = w.codes + (int64_t{row_tile} * row_loads + Atom::kLoads * begin) * kWarpLoadBytes;
    Fill(0, 0);
    steps_.LoadScales(w, row_tile, begin);
  }

  // Those that the ring has room for beside. Inputs come later than what is asked for before them,
  // so this is for then.
  __device__ void FillUp() {
#pragma unroll
    for (int s = 1; s < kDepth; ++s) {
      if (s < left_) Fill(s, s);
    }
  }

  __device__ void LoadInputs(const InputView& in, int begin) {
    steps_.LoadInputs(in, begin);
  }

  __device__ void Run(float (&total)[1][kColumns][4]) {
    for (; left_ > 0; --left_) {
      const typename Steps::Codes codes = Steps::LoadCodes(ring_.Oldest(), loads_left_);
      const int slot = ring_.Free(codes.OneOfEach());
      if (left_ > kDepth) Fill(slot, kDepth);
      codes_ += Steps::kStepBytes;
      loads_left_ -= Atom::kLoads;
      steps_.Step(codes, left_ > 1, total);
    }
  }

 private:
  // The step `ahead` of the one at hand.
  __device__ void Fill(int slot, int ahead) {
    int loads = Atom::kLoads;
    if (Atom::kRagged) loads = min(loads, loads_left_ - Atom::kLoads * ahead);  // at the end of K
    ring_.Fill(slot, codes_ + ahead * Steps::kStepBytes, loads * kWarpLoadBytes);
  }

  int left_;              // steps
  int loads_left_;        // in the row, from the step at hand on
  const uint8_t* codes_;  // of the step at hand
  Ring ring_;
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

// The sums of all parts of a row tile, [part][token][row] with `apart` from part to part, in order
// to the outputs; thread `thread` of the row tile's warps.
template <typename Output>
__device__ __forceinline__ void StoreSums(const StreamArgs& args, const StreamPlan& plan,
                                          int row_tile, const float* sums, int apart, int thread) {
  const int tokens = static_cast<int>(args.tokens);
  for (int i = thread; i < tokens * kTileRows; i += 32 << plan.split_bits) {
    const int row = i % kTileRows, token = i / kTileRows;
    const float* at = sums + token * kSumStride<1> + row;
    float sum = plan.split_bits == 0 ? at[0] : at[0] + at[apart];
#pragma unroll 4
    for (int part = 2; part < 1 << plan.split_bits; part += 2) {
      sum += at[part * apart] + at[(part + 1) * apart];
    }
    const int64_t n = int64_t{row_tile} * kTileRows + row;
    if (n < args.weight.n) {
      StoreOutput(static_cast<Output*>(args.y), token * args.weight.n + n, sum);
    }
  }
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

// How a block has its inputs: where they are; in shared memory; there too, quantised by itself.
enum class Inputs { kGiven, kStaged, kQuantised };

// A block has row_warps·split warps; warp = row warp · split + part of K. Block x: rows of a group;
// y: group. Shared memory: the warps' rings, each a warp's sums [token][row] when it is through;
// their barriers; sums of a norm; staged inputs. Nothing is divided before the copies of weights
// begin: at one token they wait for that.
template <typename Atom, typename Output, int kColumns, Inputs kInputs, int kDepth, int kRegisters>
__global__ void __maxnreg__(kRegisters) StreamKernel(StreamArgs args, StreamPlan plan) {
  ptx::GridDependencyLaunch();
  using Walk = StreamWalk<Atom, kColumns, kInputs != Inputs::kGiven, kDepth>;
  using Ring = typename Walk::Ring;
  static_assert(8 * kColumns * kSumStride<1> * sizeof(float) <= Ring::kBytes);
  extern __shared__ __align__(16) uint8_t stream_shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32, tokens = static_cast<int>(args.tokens);
  const int row_warp = warp >> plan.split_bits, part = warp - (row_warp << plan.split_bits);
  const int group = static_cast<int>(blockIdx.y);
  const int group_tiles = (static_cast<int>(args.group_rows) + kTileRows - 1) / kTileRows;
  const int group_tile = static_cast<int>(blockIdx.x) * plan.row_warps + row_warp;
  const int row_tile = group * group_tiles + group_tile;
  const int steps = StepsOf<Atom>(args.weight.k);
  const int begin = steps * part >> plan.split_bits;
  const int end = steps * (part + 1) >> plan.split_bits;
  const int warps = plan.row_warps << plan.split_bits;
  uint8_t *ring = stream_shared + warp * Ring::kBytes,
          *behind = stream_shared + warps * Ring::kBytes;
  const bool on = group_tile < group_tiles;
  // Without a row tile, the walk of the block's first one: whatever it sums, nobody stores.
  Walk walk(args.weight, on ? row_tile : row_tile - row_warp, begin, end, ring,
            behind + warp * Ring::kBarrierBytes);
  // The others have as many.
  constexpr bool kHolds =
      kColumns == 1 && (kInputs == Inputs::kStaged ||
                        (kInputs == Inputs::kGiven && Atom::kFormat == WeightFormat::kBf16));
  const HeldRegisters<kHolds ? 24 : 1> held;
  uint8_t* stage = behind + warps * Ring::kBarrierBytes;
  if constexpr (kInputs == Inputs::kQuantised) {
    auto* sums = reinterpret_cast<PairSum*>(stage);
    if (args.source.norm != nullptr) stage += NormBytes(args.source);
    walk.LoadInputs(StageQuantised(args.source, sums, stage, [&] { walk.FillUp(); }), begin);
  } else {
    const InputView in = InputsOf<Atom>(args, group);
    if (row_warp == 0) PrefetchInputs<Atom>(in, begin, end);
    if constexpr (kInputs == Inputs::kStaged) {
      StagedInputs<Atom> staged(in, stage);
      ptx::GridDependencyWait();
      staged.Ask();
      walk.FillUp();
      walk.LoadInputs(staged.Take(), begin);
    } else {
      ptx::GridDependencyWait();
      walk.LoadInputs(in, begin);
      walk.FillUp();
    }
  }
  float total[1][kColumns][4] = {};
  walk.Run(total);
  auto* sums = reinterpret_cast<float*>(ring);
  held.Release(tokens == 0, sums);
  KeepSums<1, kColumns>(total, tokens, sums);
  if (plan.split_bits == 0) {
    __syncwarp();
  } else {
    __syncthreads();
  }
  if (!on) return;
  StoreSums<Output>(args, plan, row_tile, sums - part * (Ring::kBytes / 4), Ring::kBytes / 4,
                    static_cast<int>(threadIdx.x) - (row_warp << (5 + plan.split_bits)));
}

// Shared memory of a block.
template <typename Atom, Inputs kInputs, int kDepth>
int64_t StreamShared(const StreamArgs& args, const StreamPlan& plan) {
  using Ring = typename StreamWalk<Atom, 1, true, kDepth>::Ring;
  const int64_t tokens = args.tokens, k = args.weight.k;
  int64_t bytes =
      (int64_t{plan.row_warps} << plan.split_bits) * (Ring::kBytes + Ring::kBarrierBytes);
  if (kInputs != Inputs::kGiven) bytes += StageBytes(tokens, k, kInputBytes<Atom>);
  if (args.source.norm != nullptr) bytes += NormBytes(args.source);
  return bytes;
}

template <typename Atom, typename Output, int kColumns, Inputs kInputs, int kDepth, int kRegisters>
void LaunchStream(const char* name, const StreamArgs& args, const StreamPlan& plan,
                  Stream& stream) {
  Launch({.name = name,
          .grid = dim3(Blocks(RowTiles(args.group_rows), plan.row_warps),
                       static_cast<unsigned>(args.weight.n / args.group_rows)),
          .threads = 32 * plan.row_warps << plan.split_bits,
          .shared_bytes = StreamShared<Atom, kInputs, kDepth>(args, plan)},
         stream, StreamKernel<Atom, Output, kColumns, kInputs, kDepth, kRegisters>, args, plan);
}

}  // namespace tandem::kernels::cuda
