// SPDX-License-Identifier: Apache-2.0
// Words that both schedulers use. A SequenceId names one sequence of one worker loop, from its
// admission to its end; never reused.
#pragma once

#include <cstdint>

namespace tandem {

using SequenceId = uint64_t;

// Names the KV pool that a sequence lives in; one step works on one pool.
using PoolId = uint64_t;

}  // namespace tandem
