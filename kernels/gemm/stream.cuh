// SPDX-License-Identifier: Apache-2.0
// The streaming product: y[T,N] = x[T,K]·Wᵀ for T ≤ 64, bound by the stream of W.
//
// A warp takes a row tile (atom.cuh) and a part of K. Weights go through a ring of its own
// (stream_ring.cuh), the first of them before the kernel waits for the one before it; then inputs
// are read, to shared memory where there is room, and multiplied as the weights arrive. K is cut
// into parts (stream_plan.h); a part's steps are summed in ascending order from zero, then parts as
// stream_sums.cuh has it. Parts depend on the weight's shape and the card alone, so a row's bits do
// not depend on T. Internal to kernels/gemm.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/cuda/launch.h"
#include "kernels/common/dtype.h"
#include "kernels/gemm/group_inputs.cuh"
#include "kernels/gemm/stream_atom.cuh"
#include "kernels/gemm/stream_inputs.cuh"
#include "kernels/gemm/stream_plan.h"
#include "kernels/gemm/stream_ring.cuh"
#include "kernels/gemm/stream_steps.cuh"
#include "kernels/gemm/stream_sums.cuh"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/load.cuh"

namespace tandem::kernels::cuda {

// What the first copies want.
struct StreamHead {
  const uint8_t* codes;
  int row_loads, group_tiles;  // loads of a row tile; row tiles of a group
  int steps;                   // of K
  StreamPlan plan;
};

template <typename Atom, int kDepth>
using RingOf = StreamRing<kDepth, Atom::kLoads * kWarpLoadBytes>;

// A warp's walk along its part of K, through a ring of kDepth steps of weights.
template <typename Atom, typename Steps, int kColumns, int kDepth>
class StreamWalk {
 public:
  using Ring = RingOf<Atom, kDepth>;
  using Codes = StepCodes<Atom>;

  // Steps begin .. end−1 of K, end > begin. Starts the copies of the first step's weights.
  __device__ StreamWalk(const Ring& ring, const StreamHead& head, int row_tile, int begin, int end)
      : left_(end - begin), ring_(ring) {
    loads_left_ = head.row_loads - Atom::kLoads * begin;
    codes_ =
        head.codes + (int64_t{row_tile} * head.row_loads + Atom::kLoads * begin) * kWarpLoadBytes;
    Fill(0, 0);
  }

  __device__ void LoadScales(const WeightView& w, int row_tile, int begin) {
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
    if constexpr (std::is_same_v<Steps, KeptSteps<Atom>>) {
#pragma unroll
      for (int s = 0; s < Steps::kSteps; ++s) steps_.Step(Next(), s, total);
    } else {
      while (left_ > 0) {
        const Codes codes = Next();
        steps_.Step(codes, left_ > 0, total);
      }
    }
  }

 private:
  // The step `ahead` of the one at hand.
  __device__ void Fill(int slot, int ahead) {
    int loads = Atom::kLoads;
    if (Atom::kRagged) loads = min(loads, loads_left_ - Atom::kLoads * ahead);  // at the end of K
    ring_.Fill(slot, codes_ + ahead * Ring::kStep, loads * kWarpLoadBytes);
  }

  // The codes of the step at hand, once they are there; their slot is filled again.
  __device__ Codes Next() {
    const Codes codes = Codes::Load(ring_.Oldest(), loads_left_);
    const int slot = ring_.Free(codes.OneOfEach());
    if (left_ > kDepth) Fill(slot, kDepth);
    codes_ += Ring::kStep;
    loads_left_ -= Atom::kLoads;
    --left_;
    return codes;
  }

  int left_;              // steps
  int loads_left_;        // in the row, from the step at hand on
  const uint8_t* codes_;  // of the step at hand
  Ring ring_;
  Steps steps_;
};

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

// Shared memory of a block: barriers of the rings, of the teams; the rings, each a warp's sums when
// it is through; sums of a norm; staged inputs.
template <typename Ring>
struct StreamSharedAt {
  static constexpr int kTeams = kStreamWarps * Ring::kBarrierBytes;
  static constexpr int kRings = kTeams + kStreamWarps * 8;
};

// How a block has its inputs: where they are; in shared memory; there too, quantised by itself; in
// registers.
enum class Inputs { kGiven, kStaged, kQuantised, kKept };

// A block has row_warps·split warps; warp = row warp · split + part of K. Block x: rows of a group;
// y: group. The warps of a row tile meet at a barrier of their own. Barriers are made before
// parameters are read, and the first copies want few of these: at one token all waits for that.
template <typename Atom, typename Output, int kColumns, Inputs kInputs, int kDepth, int kRegisters>
__global__ void __maxnreg__(kRegisters) StreamKernel(StreamHead head, StreamArgs args) {
  ptx::GridDependencyLaunch();
  using Steps = std::conditional_t<kInputs == Inputs::kKept, KeptSteps<Atom>,
                                   StreamSteps<Atom, kColumns, kInputs != Inputs::kGiven>>;
  using Ring = RingOf<Atom, kDepth>;
  using Shared = StreamSharedAt<Ring>;
  static_assert(sizeof(PartSums<kColumns>) <= Ring::kBytes);
  extern __shared__ __align__(16) uint8_t stream_shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  uint8_t* slots = stream_shared + Shared::kRings + warp * Ring::kBytes;
  const Ring ring(slots, stream_shared + warp * Ring::kBarrierBytes);
  const StreamPlan plan = head.plan;
  const int parts = 1 << plan.split_bits;
  const int row_warp = warp >> plan.split_bits, part = warp - (row_warp << plan.split_bits);
  const int group = static_cast<int>(blockIdx.y);
  const int group_tile = static_cast<int>(blockIdx.x) * plan.row_warps + row_warp;
  const bool on = group_tile < head.group_tiles;
  // Without a row tile, the walk of the block's first one: whatever it sums, nobody stores.
  const int row_tile = group * head.group_tiles + group_tile - (on ? 0 : row_warp);
  const int begin = head.steps * part >> plan.split_bits;
  const int end = head.steps * (part + 1) >> plan.split_bits;
  StreamWalk<Atom, Steps, kColumns, kDepth> walk(ring, head, row_tile, begin, end);
  walk.LoadScales(args.weight, row_tile, begin);
  const TeamBarrier team(stream_shared + Shared::kTeams + 8 * row_warp, part, parts);
  // The others have as many.
  constexpr bool kHolds =
      kColumns == 1 && (kInputs == Inputs::kStaged ||
                        (kInputs == Inputs::kGiven && Atom::kFormat == WeightFormat::kBf16));
  const HeldRegisters<kHolds ? 24 : 1> held;
  uint8_t* stage =
      stream_shared + Shared::kRings + (plan.row_warps << plan.split_bits) * Ring::kBytes;
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
      __syncthreads();  // the teams' barriers are there
      ptx::GridDependencyWait();
      walk.LoadInputs(in, begin);
      walk.FillUp();
    }
  }
  float total[1][kColumns][4] = {};
  walk.Run(total);
  held.Release(args.tokens == 0, reinterpret_cast<float*>(slots));
  if (!on) return;
  auto* sums = reinterpret_cast<PartSums<kColumns>*>(slots);
  KeepPart(total, sums);
  team.Arrive();
  const TileOutput to = {args.y, static_cast<int>(args.weight.n), row_tile * kTileRows,
                         static_cast<int>(args.tokens)};
  const auto* first = reinterpret_cast<PartSums<kColumns>*>(slots - part * Ring::kBytes);
#pragma unroll 1
  for (int column = part; column < kColumns; column += parts) {
    const TileStore<Output> store(to, column);
    team.Wait();
    store.Store(AddParts(first, column, Ring::kBytes, parts));
    if (kColumns == 1) break;
  }
}

// Shared memory of a block.
template <typename Atom, Inputs kInputs, int kDepth>
int64_t StreamShared(const StreamArgs& args, const StreamPlan& plan) {
  using Ring = RingOf<Atom, kDepth>;
  const int64_t tokens = args.tokens, k = args.weight.k;
  int64_t bytes =
      StreamSharedAt<Ring>::kRings + (int64_t{plan.row_warps} << plan.split_bits) * Ring::kBytes;
  if (kInputs == Inputs::kStaged || kInputs == Inputs::kQuantised) {
    bytes += StageBytes(tokens, k, kInputBytes<Atom>);
  }
  if (args.source.norm != nullptr) bytes += NormBytes(args.source);
  return bytes;
}

template <typename Atom, typename Output, int kColumns, Inputs kInputs, int kDepth, int kRegisters>
void LaunchStream(const char* name, const StreamArgs& args, const StreamPlan& plan,
                  Stream& stream) {
  const auto group_tiles = static_cast<int>(RowTiles(args.group_rows));
  const StreamHead head = {.codes = args.weight.codes,
                           .row_loads = static_cast<int>(LoadsPerRow(Atom::kFormat, args.weight.k)),
                           .group_tiles = group_tiles,
                           .steps = StepsOf<Atom>(args.weight.k),
                           .plan = plan};
  Launch({.name = name,
          .grid = dim3(Blocks(group_tiles, plan.row_warps),
                       static_cast<unsigned>(args.weight.n / args.group_rows)),
          .threads = 32 * plan.row_warps << plan.split_bits,
          .shared_bytes = StreamShared<Atom, kInputs, kDepth>(args, plan)},
         stream, StreamKernel<Atom, Output, kColumns, kInputs, kDepth, kRegisters>, head, args);
}

}  // namespace tandem::kernels::cuda
