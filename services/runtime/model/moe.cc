// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/moe.h"

namespace tandem {

void Moe(const Context& c, const MoeWeights& w, int layer, const BfMatrix& x, const BfMatrix& y) {
  const auto logits = c.work.router_logits.View(c.step.size(), c.config.n_routed_experts);
  const auto experts = c.work.experts.View(c.step.size(), c.config.num_experts_per_tok);
  const auto weight = c.work.expert_weight.View(c.step.size(), c.config.num_experts_per_tok);
  const float scaling = static_cast<float>(c.config.routed_scaling_factor);
  c.kernels.bf16_linear({.x = x, .weight = w.gate, .y = logits}, c.stream);
  if (c.config.uses_hash_router(layer)) {
    c.kernels.gate_hash({.logits = logits,
                         .tokens = c.step.tokens,
                         .tid2eid = w.gate_tid2eid,
                         .routed_scaling_factor = scaling,
                         .experts = experts,
                         .weight = weight},
                        c.stream);
  } else {
    c.kernels.gate_score({.logits = logits,
                          .bias = w.gate_bias,
                          .routed_scaling_factor = scaling,
                          .experts = experts,
                          .weight = weight},
                         c.stream);
  }
  c.kernels.moe_experts({.x = x,
                         .experts = experts,
                         .weight = weight,
                         .routed = {w.experts.data(), {static_cast<int64_t>(w.experts.size())}},
                         .shared = w.shared_experts,
                         .limit = static_cast<float>(c.config.swiglu_limit),
                         .y = y},
                        c.stream);
}

}  // namespace tandem
