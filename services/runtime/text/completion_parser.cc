// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/completion_parser.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/text/stream_parser.h"

namespace tandem {
namespace {

void AddDelta(CompletionDelta delta, Completion* completion) {
  completion->reasoning_content += delta.reasoning;
  completion->content += delta.content;
  for (ToolCallDelta& call : delta.tool_calls) {
    if (static_cast<size_t>(call.index) == completion->tool_calls.size()) {
      completion->tool_calls.push_back({.name = std::move(call.name)});
    }
    completion->tool_calls[call.index].arguments += call.arguments;
  }
}

}  // namespace

absl::StatusOr<Completion> ParseCompletion(absl::string_view text, ThinkingMode mode) {
  StreamParser parser(mode);
  Completion completion;
  AddDelta(parser.Append(text), &completion);
  AddDelta(parser.Finish(), &completion);
  if (!parser.fault().empty()) {
    return absl::InvalidArgumentError(absl::StrCat("completion: ", parser.fault()));
  }
  if (!parser.saw_eos()) {
    return absl::InvalidArgumentError("completion: does not end with the end-of-sentence token");
  }
  return completion;
}

}  // namespace tandem
