// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/moe.h"

namespace tandem {

void Moe(const Context& c, const MoeWeights& w, int layer, const BfMatrix& x, const BfMatrix& y) {
  const bool hash = c.config.uses_hash_router(layer);
  c.kernels.moe_layer({.x = x,
                       .router = w.gate,
                       .bias = w.gate_bias,
                       .tokens = c.step.tokens,
                       .tid2eid = hash ? w.gate_tid2eid : decltype(w.gate_tid2eid){},
                       .topk = c.config.num_experts_per_tok,
                       .routed_scaling_factor = static_cast<float>(c.config.routed_scaling_factor),
                       .routed = {w.experts.data(), {static_cast<int64_t>(w.experts.size())}},
                       .shared = w.shared_experts,
                       .limit = static_cast<float>(c.config.swiglu_limit),
                       .y = y},
                      c.stream);
}

}  // namespace tandem
