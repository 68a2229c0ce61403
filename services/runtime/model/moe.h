// SPDX-License-Identifier: Apache-2.0
// Moe: the feed-forward sub-layer: router, routed experts, shared expert.
// Source: specification 3.10.
#pragma once

#include "services/runtime/model/step.h"
#include "services/runtime/model/weights.h"

namespace tandem {

// y[T, D] = MOE(x[T, D], token ids of the step); x is the normed sub-layer input.
void Moe(const Context& c, const MoeWeights& w, int layer, const BfMatrix& x, const BfMatrix& y);

}  // namespace tandem
