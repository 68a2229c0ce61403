// SPDX-License-Identifier: Apache-2.0
// Which kernel a product of few tokens takes: the host's side of stream.cuh and stream_wide.cuh.
// Internal to kernels/gemm.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/common/tensor.h"
#include "kernels/gemm/stream.cuh"
#include "kernels/gemm/stream_wide.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kStreamDepth = 2;  // steps of a warp's ring

// Calls run(first, count) for slices of at most `most` of `tokens` tokens: how a product of many
// tokens is made of small ones.
template <typename Run>
void InSlicesOfTokens(int64_t tokens, int64_t most, const Run& run) {
  for (int64_t t = 0; t < tokens; t += most) run(t, std::min(most, tokens - t));
}

// Tokens first .. first+count−1 of a product.
template <typename Atom, typename Output>
StreamArgs SliceOf(StreamArgs args, int64_t first, int64_t count) {
  args.x = static_cast<const uint8_t*>(args.x) + first * args.x_stride * kInputBytes<Atom>;
  if (args.scale != nullptr) args.scale += first * (args.weight.k / 128);
  args.y = static_cast<Output*>(args.y) + first * args.weight.n;
  args.tokens = count;
  return args;
}

// Whether the wide kernel takes a product, of kHalves·32 tokens a block.
template <typename Atom, int kHalves>
bool FitsWide(const StreamArgs& args, const WidePlan& plan) {
  return (args.group_rows == args.weight.n || args.group_rows % kWideRowCount == 0) &&
         WideShared<Atom, kHalves>::Bytes(plan.teams, plan.part_steps) <= kMaxSharedBytes;
}

// Whether a block's shared memory has room for inputs beside the rings, and these are aligned.
template <typename Atom>
bool FitsStage(const StreamArgs& args, const StreamPlan& plan) {
  return reinterpret_cast<uintptr_t>(args.x) % 16 == 0 &&
         args.x_stride * kInputBytes<Atom> % 16 == 0 &&
         StreamShared<Atom, Inputs::kStaged, kStreamDepth>(args, plan) <= kMaxSharedBytes;
}

// y = x·Wᵀ for 1 .. kStreamTokens tokens.
template <typename Atom, typename Output>
void StreamLinear(const char* name, const StreamArgs& args, Stream& stream) {
  constexpr bool kSmallOnly = Atom::kFormat == WeightFormat::kFp4 || Atom::kRagged;
  constexpr int kDepth = kStreamDepth, kRegisters = 96;
  const int64_t steps = StepsOf<Atom>(args.weight.k);
  const StreamPlan plan = PlanStream(RowTiles(args.weight.n), steps, Multiprocessors());
  if constexpr (!kSmallOnly) {
    const bool aligned = reinterpret_cast<uintptr_t>(args.x) % 16 == 0;
    const WidePlan wide = PlanWide(plan, steps);
    if (args.tokens > 32 && aligned && FitsWide<Atom, 2>(args, wide)) {
      LaunchWideStream<Atom, Output, 2>(name, args, wide, stream);
      return;
    }
    if (args.tokens > 16 && aligned && FitsWide<Atom, 1>(args, wide)) {
      LaunchWideStream<Atom, Output, 1>(name, args, wide, stream);
      return;
    }
  }
  InSlicesOfTokens(args.tokens, 16, [&](int64_t first, int64_t count) {
    const StreamArgs slice = SliceOf<Atom, Output>(args, first, count);
    if (count > 8) {
      LaunchStream<Atom, Output, 2, Inputs::kGiven, kDepth, 128>(name, slice, plan, stream);
      return;
    }
    if constexpr (std::is_same_v<Atom, StreamFp8Bf16>) {
      if (steps == int64_t{KeptSteps<Atom>::kSteps} << plan.split_bits) {
        LaunchStream<Atom, Output, 1, Inputs::kKept, kDepth, 128>(name, slice, plan, stream);
        return;
      }
    }
    if constexpr (Atom::kFormat == WeightFormat::kFp8) {
      if (FitsStage<Atom>(slice, plan)) {
        LaunchStream<Atom, Output, 1, Inputs::kStaged, kDepth, kRegisters>(name, slice, plan,
                                                                           stream);
        return;
      }
    }
    LaunchStream<Atom, Output, 1, Inputs::kGiven, kDepth, kRegisters>(name, slice, plan, stream);
  });
}

// The same with bf16 weights: rows of whole steps, or of any length.
template <typename Output>
void StreamBf16(const char* name, const StreamArgs& args, Stream& stream) {
  if (args.weight.k % 64 == 0 && reinterpret_cast<uintptr_t>(args.x) % 16 == 0) {
    StreamLinear<StreamBf16Bf16<>, Output>(name, args, stream);
  } else {
    StreamLinear<StreamBf16Bf16<true>, Output>(name, args, stream);
  }
}

// A weight that PrepareLinear has prepared.
inline WeightView ViewOf(const LinearWeight& weight) {
  KERNEL_CHECK(weight.prepared != nullptr);
  return {.codes = weight.prepared,
          .scales = weight.prepared + FragmentScaleOffset(weight.format, weight.n, weight.k),
          .n = weight.n,
          .k = weight.k};
}

}  // namespace tandem::kernels::cuda
