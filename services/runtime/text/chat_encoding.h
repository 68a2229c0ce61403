// SPDX-License-Identifier: Apache-2.0
// A conversation as the text that DeepSeek-V4 was trained to go on with, equal to that of the
// released encoder (April version).
//
// No Jinja template exists; the rules are specification 6.2 to 6.5. Thread-safe function of values,
// linear time. ChatPrompt::user_text marks what came from the request rather than from the encoder:
// pass it as EncodeOptions::plain, and a "<｜User｜>" typed by a user stays text. Without it the
// ids are the released stack's, forged turns included. We propose plain as the router's default:
// ids differ only for texts that contain an added token's very string.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/runtime/text/bpe/added_tokens.h"
#include "services/runtime/text/chat/message.h"

namespace tandem {

enum class ThinkingMode { kChat, kThinking };

// Only kMax changes the prompt, and only in thinking mode. How a request's names map to these is
// the caller's affair.
enum class ReasoningEffort { kNone, kHigh, kMax };

struct ChatEncodingOptions {
  ThinkingMode thinking_mode = ThinkingMode::kChat;
  // Leaves out the reasoning before the last user turn. Without effect where any message brings
  // tools.
  bool drop_thinking = true;
  ReasoningEffort reasoning_effort = ReasoningEffort::kNone;
};

struct ChatPrompt {
  std::string text;                  // From BOS to where the model goes on.
  std::vector<ByteRange> user_text;  // Ascending, disjoint.
};

// INVALID_ARGUMENT names the field: no messages, tool arguments that are JSON but no object.
absl::StatusOr<ChatPrompt> EncodeChat(absl::Span<const Message> messages,
                                      const ChatEncodingOptions& options);

}  // namespace tandem
