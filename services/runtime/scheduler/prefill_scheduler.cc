// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/scheduler/prefill_scheduler.h"

#include <algorithm>
#include <numeric>
#include <utility>

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
  // By place: who came later stands later.
  const auto later = [this](size_t a, size_t b) {
    return std::make_pair(prompts_[a].left(), a) > std::make_pair(prompts_[b].left(), b);
  };
  std::vector<size_t> others(prompts_.size());  // a heap, least left on top: few are looked at
  std::iota(others.begin(), others.end(), 0);
  const Prompt* first = &prompts_.front();
  if (steps_ % kShare == kShare - 1) {
    const Prompt& shortest = prompts_[*std::max_element(others.begin(), others.end(), later)];
    if (shortest.pool != first->pool) first = &shortest;
  }
  plan.pool = first->pool;
  std::erase_if(others, [this, first](size_t other) {
    return &prompts_[other] == first || prompts_[other].pool != first->pool;
  });
  std::make_heap(others.begin(), others.end(), later);

  int64_t shorter = 0;
  for (const size_t other : others) {
    if (prompts_[other].left() < first->left()) shorter += prompts_[other].left();
  }
  int budget = chunk_tokens_;
  const auto take = [&plan, &budget](const Prompt& prompt, int most) {
    const int count = std::min(most, prompt.left());
    plan.items.push_back(
        {.id = prompt.id, .start = prompt.done, .count = count, .last = count == prompt.left()});
    budget -= count;
  };
  take(*first, budget - static_cast<int>(std::min<int64_t>(shorter, budget / kShare)));
  for (; budget > 0 && !others.empty(); others.pop_back()) {
    std::pop_heap(others.begin(), others.end(), later);
    take(prompts_[others.back()], budget);
  }
  return plan;
}

void PrefillScheduler::Advance(const PrefillPlan& plan) {
  ++steps_;
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
