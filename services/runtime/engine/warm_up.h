// SPDX-License-Identifier: Apache-2.0
// Warm-up: a GPU's first steps are slow, for then its kernels are loaded, working memory is taken
// and CUDA graphs are recorded. A worker has that behind it before it serves.
//
// Runs steps of made-up tokens on a pool that nobody uses yet; what they leave there is read by
// nobody, for a sequence starts with position 0. Does nothing on an engine that runs on the host.
// Logs how many steps have run, and for how long. Not thread-safe, like the engine.
#pragma once

#include <cstdint>

#include "services/runtime/engine/engine.h"

namespace tandem {

// Every length that the recordings tell apart (step_recorder.h), up to the longest sequence and
// what the pool holds, by batches of 1, 2, 4, … sequences; twice each, since the second time is
// recorded. Batches between those are recorded as they come.
struct DecodeWarmUp {
  int batch_max = 0;
  int64_t context_tokens_max = 0;
};
void WarmUpDecode(Engine& engine, const KvView& kv, const DecodeWarmUp& limits);

// A first chunk and a later one, of as many tokens as fit and of one token.
struct PrefillWarmUp {
  int chunk_tokens = 0;
  int64_t context_tokens_max = 0;
};
void WarmUpPrefill(Engine& engine, const KvView& kv, const PrefillWarmUp& limits);

}  // namespace tandem
