// SPDX-License-Identifier: Apache-2.0
// Conversations, tools and response formats from OpenAI-style JSON.
//
// Errors are INVALID_ARGUMENT and name the field by its path
// (messages[3].tool_calls[0].function.name). Unknown fields are ignored, as other servers do. A
// list as content: text items joined by a blank line; other types are refused, but in a tool's
// result they become "[Unsupported TYPE]" (specification 6.2).
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/runtime/text/chat/message.h"

namespace tandem {

// A list of messages. Beside OpenAI's fields: reasoning_content, task, wo_eos, tools and
// response_format.
absl::StatusOr<std::vector<Message>> MessagesFromJson(absl::string_view json_text);

// A list of {"type": "function", "function": {…}}, for Message::tool_schemas.
absl::StatusOr<std::vector<std::string>> ToolSchemasFromJson(absl::string_view json_text);

// Any JSON object, for Message::response_format.
absl::StatusOr<std::string> ResponseFormatFromJson(absl::string_view json_text);

// Gives a request's tools (and, if not empty, response format) to the first system message, which
// is put at the front where there is none. So does the released encoder's own API; vLLM puts them
// in a message of their own ([DIS-11]).
struct RequestTools {
  std::vector<std::string> tool_schemas;
  std::string response_format;
};
void AttachTools(RequestTools tools, std::vector<Message>* messages);

}  // namespace tandem
