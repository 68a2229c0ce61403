// SPDX-License-Identifier: Apache-2.0
// Attention: the attention sub-layer of one layer of any kind (SWA, CSA, HCA), with its caches.
// Reads the layer's ring, compressed and indexer rows of the step's sequences and writes this
// step's. Source: specification 3.3 (inputs), 3.5 (window), 3.6 (compressor), 3.7 (indexer), 3.8
// (attention), 3.9 (output).
#pragma once

#include "services/runtime/model/step.h"
#include "services/runtime/model/weights.h"

namespace tandem {

// y[T, D] = ATTN(x[T, D]); x is the normed sub-layer input, whose quantised form is in the
// workspace. x and y are different memory.
void Attention(const Context& c, const AttentionWeights& w, int layer, const BfMatrix& x,
               const BfMatrix& y);

}  // namespace tandem
