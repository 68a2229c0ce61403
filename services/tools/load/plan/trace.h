// SPDX-License-Identifier: Apache-2.0
// A recorded load, in the form of Mooncake's traces: a JSON object a line,
//   {"timestamp": ms, "input_length": tokens, "output_length": tokens,
//    "hash_ids": [id, …], "group": id}
// the last two optional. `hash_ids` name blocks of the prompt from its start: equal ids stand for
// equal tokens. `group` names a prefix that all requests of the group share. Timestamps never fall;
// the first one is the run's start. Empty lines are skipped. Pure but for the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tandem {

struct TraceLine {
  absl::Duration at;  // since the first line
  uint32_t prompt_tokens = 0;
  uint32_t output_tokens = 0;
  std::vector<uint64_t> blocks;
  std::optional<uint32_t> group;
};

// An error names `name`, the line, the field, its limit and value.
absl::StatusOr<std::vector<TraceLine>> ParseTrace(absl::string_view name, absl::string_view text);
absl::StatusOr<std::vector<TraceLine>> ReadTrace(const std::string& path);

}  // namespace tandem
