// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/chat_encoding.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/text/chat/dsml.h"
#include "services/runtime/text/chat/markup.h"
#include "services/runtime/text/chat/turns.h"

namespace tandem {
namespace {

constexpr absl::string_view kMaxEffortPrefix =
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to "
    "resolve the root cause, rigorously stress-testing your logic against all potential paths, "
    "edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, "
    "considered alternative, and rejected hypothesis to ensure absolutely no assumption is left "
    "unchecked.\n\n";
constexpr absl::string_view kResponseFormatHead =
    "\n\n## Response Format:\n\n"
    "You MUST strictly adhere to the following schema to reply:\n";

absl::string_view TaskToken(Task task) {
  switch (task) {
    case Task::kAction:
      return "<｜action｜>";
    case Task::kQuery:
      return "<｜query｜>";
    case Task::kAuthority:
      return "<｜authority｜>";
    case Task::kDomain:
      return "<｜domain｜>";
    case Task::kTitle:
      return "<｜title｜>";
    case Task::kReadUrl:
      return "<｜read_url｜>";
  }
  return "";
}

// Writes the turns of one conversation.
class Renderer final {
 public:
  // `first` is the conversation's first message, by which errors count.
  Renderer(const Message* first, std::vector<Turn> turns, const ChatEncodingOptions& options)
      : first_(first),
        turns_(std::move(turns)),
        is_thinking_(options.thinking_mode == ThinkingMode::kThinking),
        drop_thinking_(options.drop_thinking),
        last_user_(LastUserTurn(turns_)) {}

  absl::Status Render(PromptWriter* writer) const {
    for (size_t i = 0; i < turns_.size(); ++i) {
      RETURN_IF_ERROR(WriteTurn(i, writer));
      if (LeadsToAnswer(i)) WriteTransition(i, writer);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status WriteTurn(size_t i, PromptWriter* writer) const {
    const Turn& turn = turns_[i];
    switch (turn.role) {
      case Role::kDeveloper:
        writer->Markup(kUserToken);
        [[fallthrough]];
      case Role::kSystem:
        WriteInstructions(*turn.message, writer);
        break;
      case Role::kUser:
      case Role::kTool:
        WriteUserTurn(turn, writer);
        break;
      case Role::kLatestReminder:
        writer->Markup(kLatestReminderToken);
        writer->User(turn.message->content);
        break;
      case Role::kAssistant:
        return WriteAssistantTurn(i, writer);
    }
    return absl::OkStatus();
  }

  static void WriteInstructions(const Message& message, PromptWriter* writer) {
    writer->User(message.content);
    if (!message.tool_schemas.empty()) {
      writer->Markup("\n\n");
      WriteToolDefinitions(message.tool_schemas, writer);
    }
    if (message.response_format.has_value()) {
      writer->Markup(kResponseFormatHead);
      writer->User(*message.response_format);
    }
  }

  static void WriteUserTurn(const Turn& turn, PromptWriter* writer) {
    writer->Markup(kUserToken);
    absl::string_view separator = "";
    for (const Message* part : turn.parts) {
      writer->Markup(separator);
      separator = "\n\n";
      const bool is_result = part->role == Role::kTool;
      if (is_result) writer->Markup("<tool_result>");
      writer->User(part->content);
      if (is_result) writer->Markup("</tool_result>");
    }
  }

  absl::Status WriteAssistantTurn(size_t i, PromptWriter* writer) const {
    const Message& message = *turns_[i].message;
    const bool follows_task = i > 0 && turns_[i - 1].task.has_value();
    if (is_thinking_ && !follows_task &&
        (!drop_thinking_ || !last_user_.has_value() || i > *last_user_)) {
      writer->User(message.reasoning_content);
      writer->Markup(kThinkEnd);
    }
    writer->User(message.content);
    if (!message.tool_calls.empty()) {
      const absl::Status status = WriteToolCalls(message.tool_calls, writer);
      if (!status.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat("messages[", &message - first_, "].", status.message()));
      }
    }
    if (!message.wo_eos) writer->Markup(kEosToken);
    return absl::OkStatus();
  }

  bool LeadsToAnswer(size_t i) const {
    if (i + 1 == turns_.size()) return true;
    const Role next = turns_[i + 1].role;
    return next == Role::kAssistant || next == Role::kLatestReminder;
  }

  void WriteTransition(size_t i, PromptWriter* writer) const {
    const Turn& turn = turns_[i];
    if (turn.task.has_value()) {
      if (*turn.task == Task::kAction) {
        writer->Markup(kAssistantToken);
        writer->Markup(is_thinking_ ? kThinkStart : kThinkEnd);
      }
      writer->Markup(TaskToken(*turn.task));
    } else if (turn.role == Role::kUser || turn.role == Role::kDeveloper) {
      const bool thinks = is_thinking_ && (!drop_thinking_ || i >= last_user_.value_or(0));
      writer->Markup(kAssistantToken);
      writer->Markup(thinks ? kThinkStart : kThinkEnd);
    }
  }

  const Message* const first_;
  const std::vector<Turn> turns_;
  const bool is_thinking_;
  const bool drop_thinking_;
  const std::optional<size_t> last_user_;
};

}  // namespace

absl::StatusOr<ChatPrompt> EncodeChat(absl::Span<const Message> messages,
                                      const ChatEncodingOptions& options) {
  if (messages.empty()) {
    return absl::InvalidArgumentError("messages: expected at least one message");
  }
  const bool is_thinking = options.thinking_mode == ThinkingMode::kThinking;
  ChatEncodingOptions effective = options;
  for (const Message& message : messages) {
    if (!message.tool_schemas.empty()) effective.drop_thinking = false;
  }
  std::vector<Turn> turns = MakeTurns(messages);
  if (is_thinking && effective.drop_thinking) turns = WithoutOldDeveloperTurns(std::move(turns));

  PromptWriter writer;
  writer.Markup(kBosToken);
  if (is_thinking && options.reasoning_effort == ReasoningEffort::kMax) {
    writer.Markup(kMaxEffortPrefix);
  }
  RETURN_IF_ERROR(Renderer(messages.data(), std::move(turns), effective).Render(&writer));
  return ChatPrompt{.text = writer.TakeText(), .user_text = writer.TakeUserRanges()};
}

}  // namespace tandem
