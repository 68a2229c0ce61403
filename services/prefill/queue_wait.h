// SPDX-License-Identifier: Apache-2.0
// QueueWait: how long a prompt that comes now would wait for its first chunk: the tokens ahead of
// it over the rate at which steps read them. Only full steps tell that rate: a step that had less
// to read lasts nearly as long, and says little of one that has enough. A value machine; one owner.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

namespace tandem {

class QueueWait {
 public:
  // `chunk_tokens`: of a full step.
  explicit QueueWait(int chunk_tokens) : chunk_tokens_(chunk_tokens) {}

  void OnStep(int tokens, absl::Duration took) {
    if (tokens < chunk_tokens_) return;
    const absl::Duration each = took / tokens;
    token_ = token_ == absl::ZeroDuration() ? each : token_ + kNewest * (each - token_);
  }

  // Zero until a full step was seen: nobody is refused for what is not known.
  absl::Duration Behind(int64_t tokens) const { return std::max(int64_t{0}, tokens) * token_; }

 private:
  static constexpr double kNewest = 0.2;  // what the last step counts in the mean

  const int chunk_tokens_;
  absl::Duration token_;  // that a token takes
};

}  // namespace tandem
