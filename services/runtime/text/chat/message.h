// SPDX-License-Identifier: Apache-2.0
// A conversation as plain values: what the router makes of a request and EncodeChat reads.
//
// Contents are UTF-8. Source: specification 6.2; field names are OpenAI's where it has them.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tandem {

enum class Role { kSystem, kDeveloper, kUser, kAssistant, kTool, kLatestReminder };

// Short side tasks, asked for by a token after the last user turn.
enum class Task { kAction, kQuery, kAuthority, kDomain, kTitle, kReadUrl };

struct ToolCall {
  std::string id;  // May be empty; orders the results.
  std::string name;
  std::string arguments;  // A JSON object as text; anything that is no JSON becomes one parameter
                          // "arguments".
};

struct Message {
  Role role;
  std::string content;
  std::string reasoning_content;     // assistant
  std::vector<ToolCall> tool_calls;  // assistant
  bool wo_eos = false;       // assistant: the turn is not closed, so that the model goes on with it
  std::string tool_call_id;  // tool
  std::optional<Task> task;
  std::vector<std::string>
      tool_schemas;  // system, developer: one function object each, as json.dumps writes it
  std::optional<std::string>
      response_format;  // system, developer: a schema as json.dumps writes it
};

}  // namespace tandem
