// SPDX-License-Identifier: Apache-2.0
// The streaming product of several weights with one input, in one launch.
//
// A unit is what a block of stream.cuh does: rows of one weight, cut into parts of K by that
// weight's own plan, so that sums have the same bits. Blocks stay: one a multiprocessor takes units
// in turn, and a warp's ring goes on with the next unit's weights while the one at hand is
// multiplied and summed. Weights are all in flight from the first block's start to the last one's
// end. Internal to kernels/gemm.
#pragma once

#include <cstdint>

#include "kernels/gemm/group_inputs.cuh"
#include "kernels/gemm/stream.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kGroupWarps = 16;
inline constexpr int kGroupDepth = 2;         // steps of a ring: with more, copies crowd out inputs
inline constexpr int kGroupStepBytes = 2048;  // of a row tile, whatever the atom
inline constexpr int kGroupParts = 8;

struct GroupPart {
  const uint8_t* codes;  // of a weight [n, k], as WeightView's
  const uint8_t* scales;
  void* y;
  int n;
  StreamPlan plan;
  int is_fp8;
};

// What every warp reads first stands together: on a cold start each line of parameters that waits
// for the one before it costs some hundred cycles.
struct GroupArgs {
  int first_unit[kGroupParts];  // of each part; those of no part: `units`
  int units, k, tokens;
  InputView plain;      // bf16, or null
  InputView quantised;  // null: made of `source`
  StageSource source;
  GroupPart parts[kGroupParts];
};

// What a warp does in a unit.
struct GroupPlace {
  int row_warp, row_tile, part;
  int begin, end;  // steps of K
  bool on;         // there is something
};

// By comparisons alone: what is indexed by a lane comes late.
__device__ __forceinline__ int PartOf(const GroupArgs& args, int unit) {
  int at = -1;
#pragma unroll
  for (int i = 0; i < kGroupParts; ++i) at += static_cast<int>(args.first_unit[i] <= unit);
  return at;
}

__device__ __forceinline__ GroupPlace PlaceIn(const GroupPart& part, int k, int unit) {
  const int warp = static_cast<int>(threadIdx.x) / 32, split = part.plan.split_bits;
  GroupPlace place = {.row_warp = warp >> split};
  place.part = warp - (place.row_warp << split);
  place.row_tile = unit * part.plan.row_warps + place.row_warp;
  const int steps = part.is_fp8 != 0 ? StepsOf<StreamFp8>(k) : StepsOf<StreamBf16Bf16<>>(k);
  place.begin = steps * place.part >> split;
  place.end = steps * (place.part + 1) >> split;
  place.on =
      place.row_warp < part.plan.row_warps && place.row_tile < (part.n + kTileRows - 1) / kTileRows;
  return place;
}

__device__ __forceinline__ WeightView WeightOf(const GroupPart& part, int k) {
  return {.codes = part.codes, .scales = part.scales, .n = part.n, .k = k};
}

// The block's unit in round i; there and back again, so that the larger ones, which come first, go
// with the smaller ones.
__device__ __forceinline__ int UnitOf(int i) {
  const int blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
  return i * blocks + (i % 2 == 0 ? block : blocks - 1 - block);
}

// A warp's copies of weights, step after step, unit after unit.
class GroupCopies {
 public:
  using Ring = StreamRing<kGroupDepth, kGroupStepBytes>;

  // Starts those of the first step.
  __device__ GroupCopies(const GroupArgs& args, uint8_t* slots, uint8_t* barriers)
      : args_(args), ring_(slots, barriers) {
    Next(0);
  }

  // Those that the ring has room for beside.
  __device__ void FillUp() {
#pragma unroll
    for (int s = 1; s < kGroupDepth; ++s) Next(s);
  }

  // This lane's codes of the step at hand; copies of a later one begin.
  template <typename Atom>
  __device__ StepCodes<Atom> Take() {
    const auto codes = StepCodes<Atom>::Load(ring_.Oldest(), 0);
    Next(ring_.Free(codes.OneOfEach()));
    return codes;
  }

 private:
  // The next step's, to a slot.
  __device__ void Next(int slot) {
    if (left_ == 0) Advance();
    if (left_ == 0) return;
    ring_.Fill(slot, codes_);
    codes_ += kGroupStepBytes;
    --left_;
  }

  __device__ void Advance() {
    for (; left_ == 0; ++round_) {
      const int unit = UnitOf(round_);
      if (unit >= args_.units) return;
      const int at = PartOf(args_, unit);
      const GroupPart& part = args_.parts[at];
      const GroupPlace place = PlaceIn(part, args_.k, unit - args_.first_unit[at]);
      if (!place.on) continue;
      const bool is_fp8 = part.is_fp8 != 0;
      // Rows of whole steps.
      const int row_steps =
          is_fp8 ? StepsOf<StreamFp8>(args_.k) : StepsOf<StreamBf16Bf16<>>(args_.k);
      codes_ = part.codes + (int64_t{place.row_tile} * row_steps + place.begin) * kGroupStepBytes;
      left_ = place.end - place.begin;
      if (is_fp8) {
        const WeightView weight = WeightOf(part, args_.k);
        ptx::PrefetchL1(StreamFp8::ScaleRow(weight, place.row_tile, {}) + place.begin);
      }
    }
  }

  const GroupArgs& args_;
  Ring ring_;
  const uint8_t* codes_ = nullptr;
  int left_ = 0;  // steps of the unit
  int round_ = 0;
};

// A unit's products and sums.
template <typename Atom, typename Output, int kColumns>
__device__ __forceinline__ void RunUnit(const GroupPart& part, int unit, const InputView& in,
                                        GroupCopies& copies, PartSums<kColumns>* sums) {
  using Steps = StreamSteps<Atom, kColumns>;
  static_assert(Atom::kLoads * kWarpLoadBytes == kGroupStepBytes && !Atom::kRagged);
  const GroupPlace place = PlaceIn(part, in.k, unit);
  const WeightView weight = WeightOf(part, in.k);
  sums += threadIdx.x / 32;
  if (place.on) {
    Steps steps;
    steps.LoadScales(weight, place.row_tile, place.begin);
    steps.LoadInputs(in, place.begin);
    float total[1][kColumns][4] = {};
    for (int left = place.end - place.begin; left > 0; --left) {
      steps.Step(copies.Take<Atom>(), left > 1, total);
    }
    KeepPart(total, sums);
  }
  __syncthreads();
  if (!place.on) return;
  const TileOutput to = {part.y, part.n, place.row_tile * kTileRows, in.tokens};
  const int parts = 1 << part.plan.split_bits;
#pragma unroll 1
  for (int column = place.part; column < kColumns; column += parts) {
    TileStore<Output>(to, column)
        .Store(AddParts(sums - place.part, column, sizeof(PartSums<kColumns>), parts));
    if (kColumns == 1) break;
  }
}

// Shared memory: sums [buffer][warp]; rings [warp][slot], their barriers; staged inputs. With two
// buffers of sums, a unit's are stored while the next one's are made.
template <int kColumns>
struct GroupShared {
  static constexpr int kBuffers = kColumns == 1 ? 2 : 1;
  static constexpr int kRings =
      kBuffers * kGroupWarps * static_cast<int>(sizeof(PartSums<kColumns>));
  static constexpr int kBarriers = kRings + kGroupWarps * GroupCopies::Ring::kBytes;
  static constexpr int kStage = kBarriers + kGroupWarps * GroupCopies::Ring::kBarrierBytes;
};

// Asks for inputs while the kernel before still runs: see PrefetchInputs of stream.cuh.
__device__ __forceinline__ void PrefetchGiven(const GroupArgs& args) {
  if (blockIdx.x >= kPrefetchBlocks) return;
  const int threads = static_cast<int>(blockDim.x);
  for (const InputView* in : {&args.plain, &args.quantised}) {
    if (in->x == nullptr) continue;
    const int lines = (args.tokens * static_cast<int>(in->x_stride) + 127) / 128;
    for (int i = static_cast<int>(threadIdx.x); i < lines; i += threads) {
      ptx::PrefetchL2(in->x + 128 * i);
    }
  }
}

template <int kColumns>
__global__ void __launch_bounds__(32 * kGroupWarps, 1)
    StreamGroupKernel(const __grid_constant__ GroupArgs args) {
  ptx::GridDependencyLaunch();
  using Shared = GroupShared<kColumns>;
  extern __shared__ __align__(16) uint8_t group_shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  GroupCopies copies(args, group_shared + Shared::kRings + warp * GroupCopies::Ring::kBytes,
                     group_shared + Shared::kBarriers + warp * GroupCopies::Ring::kBarrierBytes);
  InputView quantised = args.quantised;
  if (args.source.x != nullptr) {
    quantised = StageQuantised(args.source, reinterpret_cast<PairSum*>(group_shared),
                               group_shared + Shared::kStage, [&] { copies.FillUp(); });
  } else {
    copies.FillUp();
    PrefetchGiven(args);
    ptx::GridDependencyWait();
  }
  for (int round = 0;; ++round) {
    const int unit = UnitOf(round);
    if (unit >= args.units) break;
    const int at = PartOf(args, unit);
    const GroupPart& part = args.parts[at];
    auto* sums = reinterpret_cast<PartSums<kColumns>*>(group_shared);
    if constexpr (Shared::kBuffers == 2) {
      sums += round % 2 * kGroupWarps;
    } else {
      if (round > 0) __syncthreads();  // the sums of the unit before are stored
    }
    if (part.is_fp8 != 0) {
      RunUnit<StreamFp8, Bf16, kColumns>(part, unit - args.first_unit[at], quantised, copies, sums);
    } else {
      RunUnit<StreamBf16Bf16<>, float, kColumns>(part, unit - args.first_unit[at], args.plain,
                                                 copies, sums);
    }
  }
}

}  // namespace tandem::kernels::cuda
