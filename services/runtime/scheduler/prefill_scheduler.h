// SPDX-License-Identifier: Apache-2.0
// PrefillScheduler: which prompt tokens are read in the next step. Pure values in, plan out. Not
// thread-safe.
//
// Policy: first come, first served, by a budget of tokens a step. The oldest prompt gets as much of
// the budget as it can use, the next ones of the same pool share the rest, so short prompts ride
// along with the tail of a long one.
#pragma once

#include <deque>
#include <vector>

#include "services/runtime/scheduler/sequence.h"

namespace tandem {

// Tokens [start, start + count) of one prompt.
struct PrefillItem {
  SequenceId id = 0;
  int start = 0;
  int count = 0;
  bool last = false;  // the prompt ends with it
  friend bool operator==(const PrefillItem&, const PrefillItem&) = default;
};

struct PrefillPlan {
  PoolId pool = 0;
  std::vector<PrefillItem> items;  // empty = nothing to do
};

class PrefillScheduler {
 public:
  // `chunk_tokens` is the budget of a step, at least 1.
  explicit PrefillScheduler(int chunk_tokens);

  // `tokens` ≥ 1; `id` must be new.
  void Submit(SequenceId id, int tokens, PoolId pool);

  // False if the id is not here (any more).
  bool Cancel(SequenceId id);

  // Does not change anything: the same plan comes until Advance.
  PrefillPlan Next() const;

  // The plan was carried out. Items of sequences cancelled meanwhile are passed over.
  void Advance(const PrefillPlan& plan);

  // Prompts of which nothing was read yet, and of which something was.
  int waiting() const;
  int running() const { return static_cast<int>(prompts_.size()) - waiting(); }

 private:
  struct Prompt {
    SequenceId id;
    int tokens;
    int done;
    PoolId pool;
  };

  const int chunk_tokens_;
  std::deque<Prompt> prompts_;  // oldest first
};

}  // namespace tandem
