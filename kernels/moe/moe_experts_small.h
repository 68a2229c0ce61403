// SPDX-License-Identifier: Apache-2.0
// moe_experts for a few tokens on a device: two kernels, each expert's weights read once.
//
// Up to SmallTokens(topk) tokens at a time. `routed` and `shared` are prepared (cuda::
// PrepareLinear), all routed experts alike and evenly spaced in device memory.
// Internal to kernels/moe.
#pragma once

#include "kernels/moe/moe_experts.h"

namespace tandem::kernels::cuda {

inline constexpr int64_t kSmallTokens = 8;
inline constexpr int64_t kSmallPairs = 64;

constexpr int64_t SmallTokens(int64_t topk) {
  return kSmallPairs / topk < kSmallTokens ? kSmallPairs / topk : kSmallTokens;
}

void MoeExpertsSmall(const MoeExpertsArgs& args, Stream& stream);

}  // namespace tandem::kernels::cuda
