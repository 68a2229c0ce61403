// SPDX-License-Identifier: Apache-2.0
// DecodeScheduler: which sequences write a token in the next step, and when one is at its end.
// Pure. Not thread-safe.
//
// Policy: all of them, up to `batch_max`; past that they take turns, so that none waits longer than
// ⌈n / batch_max⌉ steps.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "services/runtime/scheduler/sequence.h"

namespace tandem {

enum class EndReason { kStop, kLength };

// When a sequence is over.
struct EndCriteria {
  int tokens_max = 0;                // of the whole answer
  std::vector<int32_t> stop_tokens;  // any of these ends it, and is its last token
};

class DecodeScheduler {
 public:
  explicit DecodeScheduler(int batch_max);

  // A sequence whose first token was sampled by prefill. If that was its last one, it is not added
  // and the reason comes back.
  std::optional<EndReason> Add(SequenceId id, EndCriteria criteria, int32_t first_token);

  // False if the id is not here (any more).
  bool Remove(SequenceId id);

  // The sequences of the next step, oldest turn first.
  std::vector<SequenceId> Next() const;

  // A sequence wrote a token: its turn moves to the back, or it is over and gone.
  std::optional<EndReason> Advance(SequenceId id, int32_t token);

  int running() const { return static_cast<int>(sequences_.size()); }

 private:
  struct Sequence {
    SequenceId id;
    EndCriteria criteria;
    int tokens;  // written so far
  };
  static std::optional<EndReason> EndOf(const Sequence& sequence, int32_t token);

  const int batch_max_;
  std::deque<Sequence> sequences_;  // in the order of their turns
};

}  // namespace tandem
