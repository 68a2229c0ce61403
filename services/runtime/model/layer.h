// SPDX-License-Identifier: Apache-2.0
// Layer: one block of the network over the residual streams.
// Source: specification 3.0 (order), 3.2 (hyper-connections).
#pragma once

#include "services/runtime/model/step.h"
#include "services/runtime/model/weights.h"

namespace tandem {

// X[T, 4, D] before layer `layer` becomes X after it.
void Layer(const Context& c, const LayerWeights& w, int layer, const Streams& streams);

}  // namespace tandem
