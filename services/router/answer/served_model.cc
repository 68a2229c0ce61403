// SPDX-License-Identifier: Apache-2.0
#include "services/router/answer/served_model.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/text/chat/message_json.h"
#include "services/runtime/text/chat_encoding.h"

namespace tandem {
namespace {

std::optional<Role> RoleOf(absl::string_view name) {
  if (name == "system") return Role::kSystem;
  if (name == "developer") return Role::kDeveloper;
  if (name == "user") return Role::kUser;
  if (name == "assistant") return Role::kAssistant;
  if (name == "tool") return Role::kTool;
  if (name == "latest_reminder") return Role::kLatestReminder;
  return std::nullopt;
}

absl::StatusOr<std::vector<Message>> MessagesOf(const v1::Chat& chat) {
  std::vector<Message> out;
  for (const v1::Message& in : chat.messages()) {
    const std::optional<Role> role = RoleOf(in.role());
    if (!role.has_value()) {
      return InvalidField(absl::StrCat("chat.messages[", out.size(), "].role"),
                          absl::StrCat("\"", in.role(),
                                       "\" is none of system, user, assistant, "
                                       "tool, developer, latest_reminder"));
    }
    Message message = {.role = *role,
                       .content = in.content(),
                       .reasoning_content = in.reasoning(),
                       .tool_call_id = in.tool_call_id()};
    for (const v1::ToolCall& call : in.tool_calls()) {
      message.tool_calls.push_back(
          {.id = call.id(), .name = call.name(), .arguments = call.arguments_json()});
    }
    out.push_back(std::move(message));
  }
  return out;
}

// Errors of the text library name a path inside the field.
absl::Status InField(absl::string_view field, const absl::Status& status) {
  return InvalidField(field, std::string(status.message()));
}

absl::Status Attach(const v1::Chat& chat, std::vector<Message>& messages) {
  RequestTools tools;
  if (!chat.tools_json().empty()) {
    auto schemas = ToolSchemasFromJson(chat.tools_json());
    if (!schemas.ok()) return InField("chat.tools_json", schemas.status());
    tools.tool_schemas = *std::move(schemas);
  }
  if (!chat.response_format_json().empty()) {
    auto format = ResponseFormatFromJson(chat.response_format_json());
    if (!format.ok()) return InField("chat.response_format_json", format.status());
    tools.response_format = *std::move(format);
  }
  if (!tools.tool_schemas.empty() || !tools.response_format.empty()) {
    AttachTools(std::move(tools), &messages);
  }
  return absl::OkStatus();
}

ChatEncodingOptions EncodingOf(const ChatRendering& rendering) {
  const bool thinks = rendering.thinking == v1::THINKING_ON;
  const bool most = rendering.effort == v1::REASONING_EFFORT_MAX;
  return {.thinking_mode = thinks ? ThinkingMode::kThinking : ThinkingMode::kChat,
          .reasoning_effort = most ? ReasoningEffort::kMax : ReasoningEffort::kHigh};
}

std::vector<uint32_t> Unsigned(const std::vector<int32_t>& ids) {
  return std::vector<uint32_t>(ids.begin(), ids.end());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServedModel>> ServedModel::Load(const std::string& folder,
                                                               const std::string& name) {
  std::unique_ptr<ServedModel> model(new ServedModel());
  model->name_ = name;
  ASSIGN_OR_RETURN(model->config_, ModelConfig::FromFolder(folder));
  const std::string tokenizer_path = folder + "/tokenizer.json";
  if (!std::filesystem::exists(tokenizer_path)) {
    LogWarning("no_tokenizer", {{"path", tokenizer_path}, {"served", "token ids only"}});
    return model;
  }
  ASSIGN_OR_RETURN(model->tokenizer_, Tokenizer::FromFile(tokenizer_path));
  if (model->tokenizer_->vocab_size() > model->config_.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, ": tokenizer.json has ids up to ", model->tokenizer_->vocab_size() - 1,
                     "; config.json has vocab_size ", model->config_.vocab_size));
  }
  return model;
}

uint32_t ServedModel::context_tokens_max() const {
  return static_cast<uint32_t>(
      std::min<int64_t>(config_.max_position_embeddings, std::numeric_limits<uint32_t>::max()));
}

absl::Status ServedModel::NeedTokenizer(absl::string_view field) const {
  if (tokenizer_ != nullptr) return absl::OkStatus();
  return InvalidField(field, "the checkpoint has no tokenizer.json: token_ids alone can be served");
}

absl::StatusOr<Prompt> ServedModel::FromText(absl::string_view text) const {
  RETURN_IF_ERROR(NeedTokenizer("text"));
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer_->Encode(text));
  return Prompt{.text = std::string(text), .token_ids = Unsigned(ids), .rendering = {}};
}

absl::StatusOr<Prompt> ServedModel::FromChat(const ChatRendering& rendering) const {
  RETURN_IF_ERROR(NeedTokenizer("chat"));
  const absl::Time begin = Clock::Real().Now();
  ASSIGN_OR_RETURN(std::vector<Message> messages, MessagesOf(rendering.chat));
  RETURN_IF_ERROR(Attach(rendering.chat, messages));
  auto rendered = EncodeChat(messages, EncodingOf(rendering));
  if (!rendered.ok()) return InField("chat.messages", rendered.status());
  const absl::Duration took = Clock::Real().Now() - begin;
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                   tokenizer_->Encode(rendered->text, {.plain = rendered->user_text}));
  return Prompt{.text = std::move(rendered->text), .token_ids = Unsigned(ids), .rendering = took};
}

}  // namespace tandem
