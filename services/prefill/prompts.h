// SPDX-License-Identifier: Apache-2.0
// The prompts that a prefill worker has taken, each in its stage, and what they are as a queue. Not
// thread-safe: they are the loop's.
#pragma once

#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/prefill/admission.h"
#include "services/prefill/prefill_command.h"
#include "services/runtime/engine/engine.h"
#include "services/runtime/metrics/worker_metrics.h"
#include "services/runtime/sampling/sampler.h"
#include "services/runtime/scheduler/prefill_scheduler.h"
#include "services/runtime/transfer/kv_channel.h"

namespace tandem {

struct PrefillPrompt {
  struct Linking {};
  struct Asking {};
  struct Staging {
    Grant memory;  // of the decode worker, as it says itself
    absl::Time since;
  };
  struct Reading {
    KvPlace place;
  };
  struct Handing {
    absl::Time begin;
  };
  struct Ending {};

  // Tokens that are still to be read.
  int64_t left() const { return stopped.ok() ? static_cast<int64_t>(tokens.size()) - read : 0; }

  v1::PrefillRequest request;
  PrefillStream* stream = nullptr;  // owned until closed
  std::vector<int32_t> tokens;
  std::optional<Sampler> sampler;  // for the last chunk
  LeaseKey key;
  LinkSerial link = 0;
  absl::Time arrived;
  absl::Time begun = absl::InfinitePast();  // first chunk
  absl::Time handed;                        // first token sampled
  v1::PrefillDone done;
  int read = 0;          // tokens
  absl::Status stopped;  // not OK: ends so when the step that it is in does
  std::variant<Linking, Asking, Staging, Reading, Handing, Ending> stage = Linking{};
};

// The ids rise: the oldest is first.
using Prompts = std::map<SequenceId, PrefillPrompt>;

// That are not read yet.
int64_t TokensLeft(const Prompts& prompts);

// What one more prompt of so many tokens finds.
Admission::Queue QueueFor(int64_t tokens, const Prompts& prompts);

// What the metrics show.
PrefillMetrics::Queues QueuesOf(const Prompts& prompts, absl::Time now);

// A planned chunk of a prompt that is being read; makes its sampler if it is the last one.
EngineChunk ChunkOf(const PrefillItem& item, PrefillPrompt& prompt);

}  // namespace tandem
