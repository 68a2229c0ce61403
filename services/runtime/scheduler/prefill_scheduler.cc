// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/scheduler/prefill_scheduler.h"

#include <algorithm>

#include "services/runtime/base/check.h"

namespace tandem {

PrefillScheduler::PrefillScheduler(int chunk_tokens) : chunk_tokens_(chunk_tokens) {
  CHECK_GT(chunk_tokens, 0);
}

void PrefillScheduler::Submit(SequenceId id, int tokens, PoolId pool) {
  CHECK_GT(tokens, 0);
  prompts_.push_back({.id = id, .tokens = tokens, .done = 0, .pool = pool});
}

bool PrefillScheduler::Cancel(SequenceId id) {
  return std::erase_if(prompts_, [id](const Prompt& prompt) { return prompt.id == id; }) > 0;
}

PrefillPlan PrefillScheduler::Next() const {
  PrefillPlan plan;
  if (prompts_.empty()) return plan;
  plan.pool = prompts_.front().pool;
  int budget = chunk_tokens_;
  for (const Prompt& prompt : prompts_) {
    if (budget == 0) break;
    if (prompt.pool != plan.pool) continue;
    const int count = std::min(budget, prompt.tokens - prompt.done);
    plan.items.push_back({.id = prompt.id,
                          .start = prompt.done,
                          .count = count,
                          .last = prompt.done + count == prompt.tokens});
    budget -= count;
  }
  return plan;
}

void PrefillScheduler::Advance(const PrefillPlan& plan) {
  for (const PrefillItem& item : plan.items) {
    const auto prompt =
        std::find_if(prompts_.begin(), prompts_.end(),
                     [&item](const Prompt& candidate) { return candidate.id == item.id; });
    if (prompt == prompts_.end()) continue;
    CHECK_EQ(prompt->done, item.start);
    prompt->done += item.count;
    if (prompt->done == prompt->tokens) prompts_.erase(prompt);
  }
}

int PrefillScheduler::waiting() const {
  return static_cast<int>(std::count_if(prompts_.begin(), prompts_.end(),
                                        [](const Prompt& prompt) { return prompt.done == 0; }));
}

}  // namespace tandem
