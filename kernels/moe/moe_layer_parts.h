// SPDX-License-Identifier: Apache-2.0
// moe_layer as its operations one after the other, whichever backend's they are.
// Internal to kernels/moe. Source: kernels/moe/moe_layer.h.
#pragma once

#include "kernels/gemm/bf16_linear.h"
#include "kernels/moe/gate_hash.h"
#include "kernels/moe/gate_score.h"
#include "kernels/moe/moe_layer.h"

namespace tandem::kernels {

struct MoeLayerParts {
  void (*linear)(const Bf16LinearArgs& args, Stream& stream);
  void (*score)(const GateScoreArgs& args, Stream& stream);
  void (*hash)(const GateHashArgs& args, Stream& stream);
  void (*experts)(const MoeExpertsArgs& args, Stream& stream);
};

inline MoeExpertsArgs ExpertsOf(const MoeLayerArgs& args, TensorView<const int32_t, 2> experts,
                                TensorView<const float, 2> weight) {
  return {.x = args.x,
          .experts = experts,
          .weight = weight,
          .routed = args.routed,
          .first_expert = args.first_expert,
          .shared = args.shared,
          .limit = args.limit,
          .y = args.y};
}

inline void MoeLayerWith(const MoeLayerParts& parts, const MoeLayerArgs& args, Stream& stream) {
  CheckMoeLayer(args);
  const int64_t tokens = args.x.shape[0], count = args.router.n, topk = args.topk;
  Scratch scratch(stream);
  const TensorView<float, 2> logits{scratch.Take<float>(tokens * count), {tokens, count}};
  const TensorView<int32_t, 2> experts{scratch.Take<int32_t>(tokens * topk), {tokens, topk}};
  const TensorView<float, 2> weight{scratch.Take<float>(tokens * topk), {tokens, topk}};
  parts.linear({.x = args.x, .weight = args.router, .y = logits}, stream);
  if (args.tid2eid.data != nullptr) {
    parts.hash({.logits = logits,
                .tokens = args.tokens,
                .tid2eid = args.tid2eid,
                .routed_scaling_factor = args.routed_scaling_factor,
                .experts = experts,
                .weight = weight},
               stream);
  } else {
    parts.score({.logits = logits,
                 .bias = args.bias,
                 .routed_scaling_factor = args.routed_scaling_factor,
                 .experts = experts,
                 .weight = weight},
                stream);
  }
  parts.experts(ExpertsOf(args, experts, weight), stream);
}

}  // namespace tandem::kernels
