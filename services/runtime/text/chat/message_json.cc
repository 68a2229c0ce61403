// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/chat/message_json.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/text/chat/python_json.h"

namespace tandem {
namespace {

struct NamedRole {
  absl::string_view name;
  Role role;
};
constexpr NamedRole kRoles[] = {
    {"system", Role::kSystem}, {"developer", Role::kDeveloper},
    {"user", Role::kUser},     {"assistant", Role::kAssistant},
    {"tool", Role::kTool},     {"latest_reminder", Role::kLatestReminder}};

struct NamedTask {
  absl::string_view name;
  Task task;
};
constexpr NamedTask kTasks[] = {{"action", Task::kAction},       {"query", Task::kQuery},
                                {"authority", Task::kAuthority}, {"domain", Task::kDomain},
                                {"title", Task::kTitle},         {"read_url", Task::kReadUrl}};

absl::Status Expected(absl::string_view path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": expected ", what));
}

// The member, or null where it is absent or null: Python's get() with a falsy default.
const OrderedJson* Find(const OrderedJson& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// The string member `name` of the object at `path`; empty where absent.
absl::StatusOr<std::string> StringMember(const OrderedJson& object, const char* name,
                                         absl::string_view path) {
  const OrderedJson* value = Find(object, name);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return Expected(absl::StrCat(path, ".", name), "a string");
  return value->get<std::string>();
}

absl::StatusOr<std::string> ParseContentItem(const OrderedJson& item, Role role,
                                             const std::string& path) {
  if (!item.is_object()) return Expected(path, "an object");
  ASSIGN_OR_RETURN(const std::string type, StringMember(item, "type", path));
  if (type == "text") return StringMember(item, "text", path);
  if (role == Role::kTool) return absl::StrCat("[Unsupported ", type, "]");
  return Expected(absl::StrCat(path, ".type"), absl::StrCat("\"text\", not \"", type, "\""));
}

absl::StatusOr<std::string> ParseContent(const OrderedJson& message, Role role,
                                         absl::string_view path) {
  const OrderedJson* content = Find(message, "content");
  if (content == nullptr || content->is_string()) return StringMember(message, "content", path);
  if (!content->is_array()) {
    return Expected(absl::StrCat(path, ".content"), "a string or a list");
  }
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    ASSIGN_OR_RETURN(
        const std::string part,
        ParseContentItem((*content)[i], role, absl::StrCat(path, ".content[", i, "]")));
    absl::StrAppend(&text, i == 0 ? "" : "\n\n", part);
  }
  return text;
}

absl::StatusOr<std::vector<ToolCall>> ParseToolCalls(const OrderedJson& message,
                                                     absl::string_view path) {
  std::vector<ToolCall> calls;
  const OrderedJson* list = Find(message, "tool_calls");
  if (list == nullptr) return calls;
  if (!list->is_array()) return Expected(absl::StrCat(path, ".tool_calls"), "a list");
  for (size_t i = 0; i < list->size(); ++i) {
    const OrderedJson& item = (*list)[i];
    const std::string at = absl::StrCat(path, ".tool_calls[", i, "]");
    if (!item.is_object()) return Expected(at, "an object");
    const std::string function_at = absl::StrCat(at, ".function");
    const OrderedJson* function = Find(item, "function");
    if (function == nullptr || !function->is_object()) return Expected(function_at, "an object");
    ToolCall call;
    ASSIGN_OR_RETURN(call.id, StringMember(item, "id", at));
    ASSIGN_OR_RETURN(call.name, StringMember(*function, "name", function_at));
    ASSIGN_OR_RETURN(call.arguments, StringMember(*function, "arguments", function_at));
    if (call.name.empty()) return Expected(absl::StrCat(function_at, ".name"), "a name");
    calls.push_back(std::move(call));
  }
  return calls;
}

absl::StatusOr<std::vector<std::string>> ParseTools(const OrderedJson& list,
                                                    absl::string_view path) {
  if (!list.is_array()) return Expected(path, "a list");
  std::vector<std::string> schemas;
  for (size_t i = 0; i < list.size(); ++i) {
    const OrderedJson* function = list[i].is_object() ? Find(list[i], "function") : nullptr;
    if (function == nullptr || !function->is_object()) {
      return Expected(absl::StrCat(path, "[", i, "].function"), "an object");
    }
    schemas.push_back(PythonDumps(*function));
  }
  return schemas;
}

absl::StatusOr<Role> ParseRole(const OrderedJson& message, absl::string_view path) {
  ASSIGN_OR_RETURN(const std::string name, StringMember(message, "role", path));
  for (const NamedRole& role : kRoles) {
    if (role.name == name) return role.role;
  }
  return Expected(
      absl::StrCat(path, ".role"),
      absl::StrCat("system, developer, user, assistant, tool or latest_reminder, not \"", name,
                   "\""));
}

absl::StatusOr<std::optional<Task>> ParseTask(const OrderedJson& message, absl::string_view path) {
  ASSIGN_OR_RETURN(const std::string name, StringMember(message, "task", path));
  if (name.empty()) return std::optional<Task>();
  for (const NamedTask& task : kTasks) {
    if (task.name == name) return std::optional<Task>(task.task);
  }
  return Expected(
      absl::StrCat(path, ".task"),
      absl::StrCat("action, query, authority, domain, title or read_url, not \"", name, "\""));
}

absl::StatusOr<Message> ParseMessage(const OrderedJson& json, const std::string& path) {
  if (!json.is_object()) return Expected(path, "an object");
  Message message;
  ASSIGN_OR_RETURN(message.role, ParseRole(json, path));
  ASSIGN_OR_RETURN(message.content, ParseContent(json, message.role, path));
  ASSIGN_OR_RETURN(message.reasoning_content, StringMember(json, "reasoning_content", path));
  ASSIGN_OR_RETURN(message.tool_call_id, StringMember(json, "tool_call_id", path));
  ASSIGN_OR_RETURN(message.tool_calls, ParseToolCalls(json, path));
  ASSIGN_OR_RETURN(message.task, ParseTask(json, path));
  if (const OrderedJson* wo_eos = Find(json, "wo_eos"); wo_eos != nullptr) {
    if (!wo_eos->is_boolean()) return Expected(absl::StrCat(path, ".wo_eos"), "true or false");
    message.wo_eos = wo_eos->get<bool>();
  }
  if (const OrderedJson* tools = Find(json, "tools"); tools != nullptr) {
    ASSIGN_OR_RETURN(message.tool_schemas, ParseTools(*tools, absl::StrCat(path, ".tools")));
  }
  if (const OrderedJson* format = Find(json, "response_format"); format != nullptr) {
    if (!format->is_object()) return Expected(absl::StrCat(path, ".response_format"), "an object");
    if (!format->empty()) message.response_format = PythonDumps(*format);
  }
  return message;
}

absl::StatusOr<OrderedJson> ParseNamed(absl::string_view name, absl::string_view json_text) {
  auto json = ParseJson(json_text);
  if (!json.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", json.status().message()));
  }
  return json;
}

}  // namespace

absl::StatusOr<std::vector<Message>> MessagesFromJson(absl::string_view json_text) {
  ASSIGN_OR_RETURN(const OrderedJson list, ParseNamed("messages", json_text));
  if (!list.is_array()) return Expected("messages", "a list");
  std::vector<Message> messages;
  for (size_t i = 0; i < list.size(); ++i) {
    ASSIGN_OR_RETURN(Message message, ParseMessage(list[i], absl::StrCat("messages[", i, "]")));
    messages.push_back(std::move(message));
  }
  return messages;
}

absl::StatusOr<std::vector<std::string>> ToolSchemasFromJson(absl::string_view json_text) {
  ASSIGN_OR_RETURN(const OrderedJson list, ParseNamed("tools", json_text));
  return ParseTools(list, "tools");
}

absl::StatusOr<std::string> ResponseFormatFromJson(absl::string_view json_text) {
  ASSIGN_OR_RETURN(const OrderedJson format, ParseNamed("response_format", json_text));
  if (!format.is_object()) return Expected("response_format", "an object");
  return PythonDumps(format);
}

void AttachTools(RequestTools tools, std::vector<Message>* messages) {
  if (tools.tool_schemas.empty() && tools.response_format.empty()) return;
  auto system = std::find_if(messages->begin(), messages->end(),
                             [](const Message& m) { return m.role == Role::kSystem; });
  if (system == messages->end()) {
    system = messages->insert(messages->begin(), Message{.role = Role::kSystem});
  }
  if (!tools.tool_schemas.empty()) system->tool_schemas = std::move(tools.tool_schemas);
  if (!tools.response_format.empty()) system->response_format = std::move(tools.response_format);
}

}  // namespace tandem
