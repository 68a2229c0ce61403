// SPDX-License-Identifier: Apache-2.0
// AnswerCheck: whether the tokens of one answer are the ones that must come. A value; one owner.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/tools/load/check/golden.h"

namespace tandem {

class AnswerCheck {
 public:
  // The rule of services/runtime/engine/sim/sim_engine.h: the prompt's ids over and over, without
  // `silent` ones. Every wrong token is damage; one that the prompt does not have is another
  // request's.
  static AnswerCheck Simulated(const std::vector<uint32_t>& prompt,
                               absl::Span<const uint32_t> silent);
  static AnswerCheck Known(const Golden& golden);

  // The next tokens of the answer. The name of the check that they fail, "leak", "answer" or
  // "golden"; empty = none. After the first failure nothing is looked at any more.
  absl::string_view Take(absl::Span<const uint32_t> ids);

 private:
  std::vector<GoldenToken> expected_;
  bool simulated_ = false;
  bool over_ = false;
  size_t next_ = 0;
};

}  // namespace tandem
