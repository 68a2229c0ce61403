// SPDX-License-Identifier: Apache-2.0
// Engine: what a worker's loop computes with: chunks of sequences in, tokens and log-probabilities
// out, rows of the KV pool read and written on the way. One of the seams (design section 4): the
// model, or a simulation of one.
//
// What is to be drawn is asked for as a value, the sequence's Sampler: its spec, and how many
// tokens it has drawn. Logits are never handed out, so an engine that samples on its device, in the
// same CUDA graph as the step, fits as well as one that calls Sampler::Draw.
//
// A step is launched and later collected: an engine that computes elsewhere leaves its loop free to
// answer leases, links and new requests meanwhile. One step runs at a time.
//
// Used by one loop thread; not thread-safe. Contract breaches (unknown token id, page or slot out
// of range, a step larger than its limits) are bugs: callers check what clients send.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/types/span.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/sampling/sampler.h"

namespace tandem {

// The next tokens of one sequence, and what is wanted of them. Borrows everything until its step is
// collected. A step holds at most one chunk of a sequence.
struct EngineChunk {
  absl::Span<const int32_t> tokens;  // at least one, each in [0, vocab_size)
  int64_t start = 0;  // position of tokens[0]; 0 starts a sequence, whatever its slot held
  int slot = 0;
  absl::Span<const int32_t> pages;   // as in SequenceChunk
  const Sampler* sampler = nullptr;  // draws the token after the last one; null = none is wanted
  // targets[i] is the token that stands after tokens[i]; its log-probability is wanted. Shorter
  // than `tokens` at the prompt's end; empty = none is.
  absl::Span<const int32_t> targets;
};

struct ChunkResult {
  TokenChoice choice;                  // if a sampler was given; it is not told (Sampler::Accept)
  std::vector<float> target_logprobs;  // [targets.size()]
};

// Where a step runs once it has been launched.
enum class StepRuns {
  kInLaunch,   // which returns when it has run
  kOnThreads,  // of the engine's
  kOnDevice,   // beside all processors, so that whoever waits for a decode step may stay awake
};

// A step of no more tokens is soon over, and may be replayed as a whole: nobody asks for its
// layers. Of more, kernels take longer than their launches (tests/bench/results/steps.md).
inline constexpr int kSmallStep = 64;

// Who hears of a step: from any thread, possibly before Launch returns, and not any more after
// Collect.
struct StepListener {
  // Called once, when results and rows are there.
  std::function<void()> done;
  // Before it, one call after another: all that the step writes of its chunks' rows and states in
  // the first `layers` layers is there. `layers` rises to the number of them all. Null: nobody
  // wants to know, which costs least, for such a step may be replayed as a whole. An engine that
  // has all rows at once may leave it out, and a step without chunks does.
  std::function<void(int layers)> layers = nullptr;
};

class Engine {
 public:
  virtual ~Engine() = default;

  virtual const ModelConfig& config() const = 0;

  // Begins a step. `chunks`, what they borrow and their memory in `kv` are the engine's until
  // Collect; but what `listener` was told of, others may read.
  virtual void Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
                      StepListener listener) = 0;

  // Waits for the step that was launched. One result a chunk, in their order; it depends neither on
  // the chunk's neighbours nor on time.
  virtual std::vector<ChunkResult> Collect() = 0;

  virtual StepRuns runs() const { return StepRuns::kOnThreads; }

  // Kernels of the last step that was collected, if it was replayed as a whole; else 0.
  virtual int64_t launches() const { return 0; }

  // Both, for a loop that has nothing else to do.
  std::vector<ChunkResult> Step(absl::Span<const EngineChunk> chunks, const KvView& kv) {
    Launch(chunks, kv, {.done = [] {}});
    return Collect();
  }
};

}  // namespace tandem
