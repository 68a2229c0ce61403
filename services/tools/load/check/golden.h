// SPDX-License-Identifier: Apache-2.0
// Goldens: prompts whose greedy answers are known. The file is that of tests/golden/model:
//   {"cases": {NAME: {"prompt": [id, …], "decode": [{"token": id, "top": [[id, logprob], …]}, …]}}}
// or, where no log-probabilities are known, "tokens": [id, …] in place of "decode". Other members
// are passed over. Pure but for the file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tandem {

struct GoldenToken {
  uint32_t id = 0;
  // Another token may stand here: the model's lead for this one is within the rounding of another
  // right implementation. What follows is then another text.
  bool undecided = false;
};

struct Golden {
  std::string name;
  std::vector<uint32_t> prompt;
  std::vector<GoldenToken> answer;
};

// A lead of the best token, in log-probability, that every implementation has to keep (design 3).
inline constexpr double kGoldenLead = 0.05;

// At least one. An error names `file`, the case and the field.
absl::StatusOr<std::vector<Golden>> ParseGoldens(absl::string_view file, absl::string_view text);
absl::StatusOr<std::vector<Golden>> ReadGoldens(const std::string& path);

}  // namespace tandem
