// SPDX-License-Identifier: Apache-2.0
#include "services/prefill/prompts.h"

#include <algorithm>

#include "services/runtime/sampling/sampling_wire.h"

namespace tandem {

int64_t TokensLeft(const Prompts& prompts) {
  int64_t tokens = 0;
  for (const auto& [id, prompt] : prompts) tokens += prompt.left();
  return tokens;
}

Admission::Queue QueueFor(int64_t tokens, const Prompts& prompts) {
  Admission::Queue queue = {.prompts = static_cast<int>(prompts.size()),
                            .tokens = TokensLeft(prompts)};
  for (const auto& [id, prompt] : prompts) {
    if (prompt.left() <= tokens) queue.tokens_of_shorter += prompt.left();
  }
  return queue;
}

PrefillMetrics::Queues QueuesOf(const Prompts& prompts, absl::Time now) {
  PrefillMetrics::Queues queues;
  for (const auto& [id, prompt] : prompts) {
    if (prompt.begun != absl::InfinitePast()) {
      const bool reading = std::holds_alternative<PrefillPrompt::Reading>(prompt.stage);
      ++(reading ? queues.running : queues.handing);
      continue;
    }
    ++queues.waiting;
    queues.oldest_waiting = std::max(queues.oldest_waiting, now - prompt.arrived);
    queues.tokens_waiting += static_cast<double>(prompt.tokens.size());
  }
  return queues;
}

EngineChunk ChunkOf(const PrefillItem& item, PrefillPrompt& prompt) {
  const KvPlace& place = std::get<PrefillPrompt::Reading>(prompt.stage).place;
  const absl::Span<const int32_t> tokens = prompt.tokens;
  EngineChunk chunk{.tokens = tokens.subspan(item.start, item.count),
                    .start = item.start,
                    .slot = place.slot,
                    .pages = place.pages};
  if (prompt.request.prompt_logprobs()) chunk.targets = tokens.subspan(item.start + 1, item.count);
  if (item.last)
    chunk.sampler = &prompt.sampler.emplace(SpecOf(prompt.request.sampling()), prompt.tokens);
  return chunk;
}

}  // namespace tandem
