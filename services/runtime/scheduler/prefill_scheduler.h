// SPDX-License-Identifier: Apache-2.0
// PrefillScheduler: which prompt tokens are read in the next step. Pure values in, plan out. Not
// thread-safe.
//
// Policy: first come, first served, by a budget of tokens a step, but a short prompt does not wait
// for all of a long one. The oldest prompt comes first; a quarter of the budget is kept for those
// of its pool that have less left than it has, as far as they need it, and what it leaves goes to
// the others: least left first, then in order of arrival. A step works on one pool, so where
// prompts of other pools wait, every fourth step is for the prompt with the least left of all, and
// then for its pool.
//
// So prompts of one length are read one after another, and the tokens of those that are as short as
// a given one, or shorter, are read at a quarter of the rate or more whatever else waits. None
// starves: in three steps of four the oldest gets three quarters or more, so it ends, whatever
// comes after it, and the next one is the oldest then.
#pragma once

#include <cstdint>
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
  // Short prompts have one part in so many of a step, and one step in so many.
  static constexpr int kShare = 4;

  // `chunk_tokens` is the budget of a step, at least 1; of less than kShare no part is kept.
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
    int left() const { return tokens - done; }
  };

  const int chunk_tokens_;
  uint64_t steps_ = 0;          // that were carried out
  std::deque<Prompt> prompts_;  // oldest first
};

}  // namespace tandem
