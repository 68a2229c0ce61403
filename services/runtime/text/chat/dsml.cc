// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/chat/dsml.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/text/chat/markup.h"
#include "services/runtime/text/chat/python_json.h"

namespace tandem {
namespace {

// A wire constant: the model was trained on these very words. "D=" stands for the DSML token.
constexpr absl::string_view kToolsHead =
    "## Tools\n"
    "\n"
    "You have access to a set of tools to help answer the user's question. You can invoke "
    "tools by writing a \"<D=tool_calls>\" block like the following:\n"
    "\n"
    "<D=tool_calls>\n"
    "<D=invoke name=\"$TOOL_NAME\">\n"
    "<D=parameter name=\"$PARAMETER_NAME\" "
    "string=\"true|false\">$PARAMETER_VALUE</D=parameter>\n"
    "...\n"
    "</D=invoke>\n"
    "<D=invoke name=\"$TOOL_NAME2\">\n"
    "...\n"
    "</D=invoke>\n"
    "</D=tool_calls>\n"
    "\n"
    "String parameters should be specified as is and set `string=\"true\"`. For all other "
    "types (numbers, booleans, arrays, objects), pass the value in JSON format and set "
    "`string=\"false\"`.\n"
    "\n"
    "If thinking_mode is enabled (triggered by <think>), you MUST output your complete "
    "reasoning inside <think>...</think> BEFORE any tool calls or final response.\n"
    "\n"
    "Otherwise, output directly after </think> with tool calls or final response.\n"
    "\n"
    "### Available Tool Schemas\n"
    "\n";

constexpr absl::string_view kToolsTail =
    "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool "
    "calls.\n";

void WriteParameter(const std::string& name, const OrderedJson& value, PromptWriter* writer) {
  writer->Markup(kParameterOpen);
  writer->Markup(" name=\"");
  writer->User(name);
  writer->Markup(value.is_string() ? "\" string=\"true\">" : "\" string=\"false\">");
  writer->User(value.is_string() ? value.get<std::string>() : PythonDumps(value));
  writer->Markup(kParameterClose);
}

absl::Status WriteToolCall(const ToolCall& call, PromptWriter* writer) {
  OrderedJson arguments = OrderedJson::object();
  if (auto json = ParseJson(call.arguments); json.ok()) {
    arguments = std::move(json).value();
  } else {
    arguments["arguments"] = call.arguments;
  }
  if (!arguments.is_object()) {
    return absl::InvalidArgumentError("function.arguments: expected a JSON object");
  }
  writer->Markup(kInvokeOpen);
  writer->Markup(" name=\"");
  writer->User(call.name);
  writer->Markup("\">\n");
  absl::string_view separator = "";
  for (const auto& [name, value] : arguments.items()) {
    writer->Markup(separator);
    separator = "\n";
    WriteParameter(name, value, writer);
  }
  writer->Markup("\n");
  writer->Markup(kInvokeClose);
  return absl::OkStatus();
}

}  // namespace

void PromptWriter::User(absl::string_view text) {
  if (text.empty()) return;
  user_ranges_.push_back({text_.size(), text_.size() + text.size()});
  text_.append(text.data(), text.size());
}

void WriteToolDefinitions(absl::Span<const std::string> tool_schemas, PromptWriter* writer) {
  writer->Markup(absl::StrReplaceAll(kToolsHead, {{"D=", kDsmlToken}}));
  absl::string_view separator = "";
  for (const std::string& schema : tool_schemas) {
    writer->Markup(separator);
    separator = "\n";
    writer->User(schema);
  }
  writer->Markup(kToolsTail);
}

absl::Status WriteToolCalls(absl::Span<const ToolCall> calls, PromptWriter* writer) {
  writer->Markup("\n\n");
  writer->Markup(kToolCallsOpen);
  writer->Markup("\n");
  for (size_t i = 0; i < calls.size(); ++i) {
    const absl::Status status = WriteToolCall(calls[i], writer);
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("tool_calls[", i, "].", status.message()));
    }
    writer->Markup("\n");
  }
  writer->Markup(kToolCallsClose);
  return absl::OkStatus();
}

}  // namespace tandem
