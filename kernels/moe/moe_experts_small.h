// SPDX-License-Identifier: Apache-2.0
// moe_experts for a few quantised tokens on a device: two kernels, each expert's weights read once.
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

// Where a step's experts and their weights come from: either listed, or to be chosen from the
// router's scores (gate_score, or gate_hash where bias is null).
struct Routes {
  const int32_t* experts = nullptr;  // [T, K]
  const float* weight = nullptr;     // [T, K]

  const float* scores = nullptr;         // [T, score_count]; null: listed
  const float* bias = nullptr;           // [score_count]
  const int32_t* token_ids = nullptr;    // [T]
  TensorView<const int64_t, 2> tid2eid;  // [V, K]
  int32_t score_count = 0;
  float routed_scaling_factor = 0;

  int32_t tokens = 0, topk = 0;
  int32_t first_expert = 0, expert_count = 0;
};

// x quantised (act_quant), in device memory.
struct HalfRows {
  uint16_t* codes = nullptr;  // [T, D] codes as f16, exact
  float* scales = nullptr;    // [T, D/128]
};

// `args` without experts and weight where the routes have scores; its x has become `x`, or, of one
// token, has not: null.
void MoeExpertsSmall(const MoeExpertsArgs& args, const Routes& routes, const HalfRows& x,
                     Stream& stream);

}  // namespace tandem::kernels::cuda
