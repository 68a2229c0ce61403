// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/check/answer_check.h"

#include <algorithm>

namespace tandem {

AnswerCheck AnswerCheck::Simulated(const std::vector<uint32_t>& prompt,
                                   absl::Span<const uint32_t> silent) {
  AnswerCheck check;
  check.simulated_ = true;
  check.expected_.reserve(prompt.size());
  for (const uint32_t id : prompt) {
    if (std::find(silent.begin(), silent.end(), id) == silent.end()) {
      check.expected_.push_back({.id = id});
    }
  }
  check.over_ = check.expected_.empty();
  return check;
}

AnswerCheck AnswerCheck::Known(const Golden& golden) {
  AnswerCheck check;
  check.expected_ = golden.answer;
  return check;
}

absl::string_view AnswerCheck::Take(absl::Span<const uint32_t> ids) {
  for (const uint32_t id : ids) {
    if (over_) return "";
    const GoldenToken& want = expected_[next_++];
    if (next_ == expected_.size()) {
      next_ = 0;
      over_ = !simulated_;
    }
    if (id == want.id) continue;
    over_ = true;
    if (want.undecided) return "";
    if (!simulated_) return "golden";
    const bool own = std::any_of(expected_.begin(), expected_.end(),
                                 [id](const GoldenToken& token) { return token.id == id; });
    return own ? "answer" : "leak";
  }
  return "";
}

}  // namespace tandem
