// SPDX-License-Identifier: Apache-2.0
// Layer: one block of the network over the residual streams.
//
// Between sub-layers one operation puts an output back into the streams and takes the next input
// out of them; so a layer finds its first input in the workspace, and leaves the next layer's
// there. On a rank that has peers, the operation first adds up all ranks' outputs.
// Source: specification 3.0 (order), 3.2 (hyper-connections).
#pragma once

#include "services/runtime/model/step.h"
#include "services/runtime/model/weights.h"

namespace tandem {

// Takes the first input of a layer out of X[T, 4, D].
void EnterLayer(const Context& c, const LayerWeights& w, const Streams& streams);

// X[T, 4, D] before layer `layer`, which is entered, becomes X after it. Enters `next`; null: none.
void Layer(const Context& c, const LayerWeights& w, int layer, const LayerWeights* next,
           const Streams& streams);

}  // namespace tandem
