// SPDX-License-Identifier: Apache-2.0
// What a prompt says about tools, in DeepSeek's markup language: the block of definitions, and
// calls made in earlier turns.
//
// Text is written in parts, each told apart as the encoder's own markup or as words of the request,
// so that the tokenizer may keep the latter plain. Source: specification 6.3 and 6.4.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/runtime/text/bpe/added_tokens.h"
#include "services/runtime/text/chat/message.h"

namespace tandem {

// A prompt under construction.
class PromptWriter final {
 public:
  // The encoder's own words: added tokens in them count.
  void Markup(absl::string_view text) { text_.append(text.data(), text.size()); }
  // Words of the request.
  void User(absl::string_view text);

  std::string TakeText() { return std::move(text_); }
  std::vector<ByteRange> TakeUserRanges() { return std::move(user_ranges_); }

 private:
  std::string text_;
  std::vector<ByteRange> user_ranges_;
};

void WriteToolDefinitions(absl::Span<const std::string> tool_schemas, PromptWriter* writer);

// `calls` is not empty. INVALID_ARGUMENT for arguments that are JSON but no object; names the
// call's index.
absl::Status WriteToolCalls(absl::Span<const ToolCall> calls, PromptWriter* writer);

}  // namespace tandem
