// SPDX-License-Identifier: Apache-2.0
// Which kernel a product of few tokens takes: the host's side of stream.cuh and stream_wide.cuh.
// Internal to kernels/gemm.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/tensor.h"
#include "kernels/gemm/stream.cuh"
#include "kernels/gemm/stream_wide.cuh"

namespace tandem::kernels::cuda {

// Calls run(first, count) for slices of at most `most` of `tokens` tokens: how a product of many
// tokens is made of small ones.
template <typename Run>
void InSlicesOfTokens(int64_t tokens, int64_t most, const Run& run) {
  for (int64_t t = 0; t < tokens; t += most) run(t, std::min(most, tokens - t));
}

// Tokens first .. first+count−1 of a product.
template <typename Atom, typename Output>
StreamArgs SliceOf(StreamArgs args, int64_t first, int64_t count) {
  constexpr int kInputBytes = sizeof(typename Atom::Unit) / kUnitCodes;
  args.x = static_cast<const uint8_t*>(args.x) + first * args.x_stride * kInputBytes;
  if (args.scale != nullptr) args.scale += first * (args.weight.k / 128);
  args.y = static_cast<Output*>(args.y) + first * args.weight.n;
  args.tokens = count;
  return args;
}

// At most 64 tokens whose input is aligned to 16 bytes: 64 at once where registers (FP8 codes want
// too many) and shared memory allow, else 32 and 32. Ring depths are what shared memory allows.
template <typename Atom, typename Output>
void WideStreamLinear(const char* name, const StreamArgs& args, const StreamPlan& plan,
                      Stream& stream) {
  if constexpr (Atom::kFormat == WeightFormat::kBf16) {
    if (args.tokens > 32 && WideSharedBytes<Atom, 8, 4>(plan) <= kMaxSharedBytes) {
      LaunchWideStream<Atom, Output, 8, 4>(name, args, plan, stream);
      return;
    }
  }
  constexpr int kDepth = sizeof(typename Atom::Unit) == 8 ? 4 : 2;
  InSlicesOfTokens(args.tokens, 32, [&](int64_t first, int64_t count) {
    LaunchWideStream<Atom, Output, 4, kDepth>(name, SliceOf<Atom, Output>(args, first, count), plan,
                                              stream);
  });
}

// y = x·Wᵀ for 1 .. kStreamTokens tokens.
template <typename Atom, typename Output>
void StreamLinear(const char* name, const StreamArgs& args, Stream& stream) {
  constexpr bool kSmallOnly = Atom::kFormat == WeightFormat::kFp4 || Atom::kRagged;
  constexpr int kDepth = 2, kRegisters = 96;
  StreamPlan plan =
      PlanStream(RowTiles(args.weight.n), StepsOf<Atom>(args.weight.k), Multiprocessors());
  // A block's rows are of one group of inputs.
  while (args.group_rows % (kTileRows * plan.row_warps) != 0 && args.group_rows < args.weight.n) {
    plan.row_warps /= 2;
  }
  const bool aligned = reinterpret_cast<uintptr_t>(args.x) % 16 == 0;
  if constexpr (!kSmallOnly) {
    if (args.tokens > 16 && aligned) {
      WideStreamLinear<Atom, Output>(name, args, plan, stream);
      return;
    }
  }
  InSlicesOfTokens(args.tokens, 16, [&](int64_t first, int64_t count) {
    const StreamArgs slice = SliceOf<Atom, Output>(args, first, count);
    if (count <= 8) {
      LaunchStream<Atom, Output, 1, 1, kDepth, kRegisters>(name, slice, plan, stream);
    } else {
      LaunchStream<Atom, Output, 1, 2, kDepth, 128>(name, slice, plan, stream);
    }
  });
}

// The same with bf16 weights: rows of whole steps, or of any length.
template <typename Output>
void StreamBf16(const char* name, const StreamArgs& args, Stream& stream) {
  if (args.weight.k % 64 == 0 && reinterpret_cast<uintptr_t>(args.x) % 16 == 0) {
    StreamLinear<Bf16Dequant<WeightFormat::kBf16>, Output>(name, args, stream);
  } else {
    StreamLinear<Bf16Dequant<WeightFormat::kBf16, true>, Output>(name, args, stream);
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
