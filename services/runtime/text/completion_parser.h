// SPDX-License-Identifier: Apache-2.0
// A whole completion as a message, by the released parser's strict rules: StreamParser without any
// fault.
//
// Linear time; thread-safe function of values. Source: specification 6.4.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/runtime/text/chat_encoding.h"

namespace tandem {

struct Completion {
  std::string reasoning_content;
  std::string content;
  std::vector<ToolCall> tool_calls;  // Without ids.
};

// `text` includes the text of the EOS token. INVALID_ARGUMENT tells the first breach of the
// grammar.
absl::StatusOr<Completion> ParseCompletion(absl::string_view text, ThinkingMode mode);

}  // namespace tandem
