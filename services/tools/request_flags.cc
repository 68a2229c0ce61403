// SPDX-License-Identifier: Apache-2.0
#include "services/tools/request_flags.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/status_macros.h"
#include "services/tools/read_file.h"

namespace tandem {
namespace {

using nlohmann::json;

// Absent and null are empty; anything that is no string keeps its JSON, so that the server names
// it.
std::string TextOf(const json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return "";
  return it->is_string() ? it->get<std::string>() : it->dump();
}

v1::ToolCall ToolCallOf(const json& in) {
  v1::ToolCall call;
  const json function = in.value("function", in);
  call.set_id(TextOf(in, "id"));
  call.set_name(TextOf(function, "name"));
  call.set_arguments_json(TextOf(function, "arguments"));
  return call;
}

absl::StatusOr<v1::Message> MessageOf(const json& in, size_t index) {
  if (!in.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("messages[", index, "] is no JSON object"));
  }
  v1::Message message;
  message.set_role(TextOf(in, "role"));
  message.set_content(TextOf(in, "content"));
  message.set_reasoning(in.contains("reasoning") ? TextOf(in, "reasoning")
                                                 : TextOf(in, "reasoning_content"));
  message.set_tool_call_id(TextOf(in, "tool_call_id"));
  const auto calls = in.find("tool_calls");
  if (calls != in.end() && calls->is_array()) {
    for (const json& call : *calls) {
      if (call.is_object()) *message.add_tool_calls() = ToolCallOf(call);
    }
  }
  return message;
}

absl::StatusOr<v1::TokenIds> TokenIdsOf(const std::string& text) {
  v1::TokenIds ids;
  for (absl::string_view piece :
       absl::StrSplit(text, absl::ByAnyChar(" ,[]\n\r\t"), absl::SkipEmpty())) {
    uint32_t id = 0;
    if (!absl::SimpleAtoi(piece, &id)) {
      return absl::InvalidArgumentError(absl::StrCat("\"", piece, "\" is no token id"));
    }
    ids.add_ids(id);
  }
  return ids;
}

absl::Status SetPrompt(const Flags& flags, v1::GenerateRequest& request) {
  int prompts = 0;
  for (const char* name : {"prompt", "raw", "messages", "token-ids"}) prompts += flags.Has(name);
  if (prompts != 1) {
    return absl::InvalidArgumentError(
        "exactly one of --prompt, --raw, --messages and --token-ids is needed");
  }
  if (flags.Has("raw")) request.set_text(flags.Text("raw"));
  if (flags.Has("prompt")) {
    v1::Message* message = request.mutable_chat()->add_messages();
    message->set_role("user");
    message->set_content(flags.Text("prompt"));
  }
  if (flags.Has("messages")) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.Text("messages")));
    ASSIGN_OR_RETURN(*request.mutable_chat(), ChatFromJson(text));
  }
  if (flags.Has("token-ids")) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.Text("token-ids")));
    ASSIGN_OR_RETURN(*request.mutable_token_ids(), TokenIdsOf(text));
  }
  return absl::OkStatus();
}

absl::Status SetSampling(const Flags& flags, v1::Sampling& sampling) {
  ASSIGN_OR_RETURN(const auto temperature, flags.Float("temperature"));
  ASSIGN_OR_RETURN(const auto top_p, flags.Float("top-p"));
  ASSIGN_OR_RETURN(const auto min_p, flags.Float("min-p"));
  ASSIGN_OR_RETURN(const auto top_k, flags.Count("top-k"));
  ASSIGN_OR_RETURN(const auto seed, flags.Unsigned("seed"));
  ASSIGN_OR_RETURN(const auto repetition, flags.Float("repetition-penalty"));
  ASSIGN_OR_RETURN(const auto presence, flags.Float("presence-penalty"));
  ASSIGN_OR_RETURN(const auto frequency, flags.Float("frequency-penalty"));
  if (temperature.has_value()) sampling.set_temperature(*temperature);
  if (top_p.has_value()) sampling.set_top_p(*top_p);
  if (min_p.has_value()) sampling.set_min_p(*min_p);
  if (top_k.has_value()) sampling.set_top_k(*top_k);
  if (seed.has_value()) sampling.set_seed(*seed);
  if (repetition.has_value()) sampling.set_repetition_penalty(*repetition);
  if (presence.has_value()) sampling.set_presence_penalty(*presence);
  if (frequency.has_value()) sampling.set_frequency_penalty(*frequency);
  return absl::OkStatus();
}

absl::Status SetEffort(const Flags& flags, v1::GenerateRequest& request) {
  if (flags.Has("thinking")) request.set_thinking(v1::THINKING_ON);
  const std::string effort = flags.Text("reasoning-effort");
  if (effort == "high") request.set_reasoning_effort(v1::REASONING_EFFORT_HIGH);
  if (effort == "max") request.set_reasoning_effort(v1::REASONING_EFFORT_MAX);
  if (effort.empty() || effort == "high" || effort == "max") return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--reasoning-effort: \"", effort, "\" is neither high nor max"));
}

}  // namespace

std::vector<FlagSpec> CommonFlags() {
  std::vector<FlagSpec> specs = ConnectionFlags();
  const std::vector<FlagSpec> rest = {
      {"timeout", "DURATION", "deadline: 30s, 2m (default: the server's)"},
      {"max-tokens", "N", "tokens to write at most"},
      {"temperature", "X", "0 = greedy"},
      {"top-p", "X", "nucleus"},
      {"top-k", "N", "only the k best tokens; 0 = all"},
      {"min-p", "X", "least share of the best token's probability"},
      {"seed", "N", "same seed, same text"},
      {"repetition-penalty", "X", "above 0 up to 10"},
      {"presence-penalty", "X", "-2 to 2"},
      {"frequency-penalty", "X", "-2 to 2"},
      {"thinking", "", "reason, then answer"},
      {"reasoning-effort", "high|max", "with --thinking"},
      {"stop", "TEXT", "ends the answer; may be repeated", true}};
  specs.insert(specs.end(), rest.begin(), rest.end());
  return specs;
}

std::vector<FlagSpec> ConnectionFlags() {
  return {{"target", "HOST:PORT", "router or worker (default 127.0.0.1:8440)"},
          {"tls", "", "speak TLS, trusting the system's authorities"},
          {"ca", "FILE", "speak TLS, trusting these authorities (PEM)"},
          {"cert", "FILE", "this side's certificate (PEM), with --key"},
          {"key", "FILE", "its private key"},
          {"server-name", "NAME", "what the server's certificate says, if not the target's host"},
          {"api-key-file", "FILE", "a file that holds the API key"}};
}

absl::StatusOr<Connection> ConnectionOf(const Flags& flags) {
  Connection connection;
  connection.channel.endpoint = TargetOf(flags);
  v1::Tls tls;
  tls.set_ca_file(flags.Text("ca"));
  tls.set_cert_file(flags.Text("cert"));
  tls.set_key_file(flags.Text("key"));
  connection.tls = flags.Has("tls") || flags.Has("ca") || flags.Has("cert") || flags.Has("key");
  ASSIGN_OR_RETURN(connection.channel.credentials,
                   MakeChannelCredentials("TLS flags", connection.tls ? &tls : nullptr));
  connection.channel.server_name = flags.Text("server-name");
  if (flags.Has("api-key-file")) {
    ASSIGN_OR_RETURN(const std::string key, ReadFile(flags.Text("api-key-file")));
    connection.authorization = absl::StrCat("Bearer ", absl::StripAsciiWhitespace(key));
  }
  return connection;
}

void Connection::Authorize(grpc::ClientContext& context) const {
  if (!authorization.empty()) context.AddMetadata("authorization", authorization);
}

std::vector<FlagSpec> GenerateFlags() {
  std::vector<FlagSpec> specs = {
      {"prompt", "TEXT", "one user message, rendered by the chat encoding"},
      {"raw", "TEXT", "the prompt as it is: no chat encoding, special tokens count"},
      {"messages", "FILE", "JSON: messages, or an object with messages and tools"},
      {"token-ids", "FILE", "token ids, as JSON or separated by spaces"}};
  for (FlagSpec& spec : CommonFlags()) specs.push_back(std::move(spec));
  const std::vector<FlagSpec> rest = {
      {"request-id", "ID", "for tandem.v1 Cancel"},
      {"model", "NAME", "what the server must serve"},
      {"n", "N", "completions"},
      {"stop-token-id", "ID", "ends the answer; may be repeated", true},
      {"ignore-eos", "", "go on past the end of sentence"},
      {"logprobs", "K", "log-probabilities, and the K best at every step"},
      {"prompt-logprobs", "", "log-probability of every prompt token"},
      {"stream-interval", "N", "tokens a delta at least"},
      {"json", "", "one JSON object at the end instead of a stream"},
      {"help", "", "print this"}};
  specs.insert(specs.end(), rest.begin(), rest.end());
  return specs;
}

absl::Status ApplyCommonFlags(const Flags& flags, v1::GenerateRequest& request) {
  RETURN_IF_ERROR(SetSampling(flags, *request.mutable_sampling()));
  RETURN_IF_ERROR(SetEffort(flags, request));
  ASSIGN_OR_RETURN(const auto max_tokens, flags.Count("max-tokens"));
  if (max_tokens.has_value()) request.set_max_tokens(*max_tokens);
  for (const std::string& stop : flags.Texts("stop")) request.add_stop(stop);
  return absl::OkStatus();
}

absl::StatusOr<v1::GenerateRequest> MakeRequest(const Flags& flags) {
  v1::GenerateRequest request;
  RETURN_IF_ERROR(SetPrompt(flags, request));
  RETURN_IF_ERROR(ApplyCommonFlags(flags, request));
  ASSIGN_OR_RETURN(const auto choices, flags.Count("n"));
  ASSIGN_OR_RETURN(const auto logprobs, flags.Count("logprobs"));
  ASSIGN_OR_RETURN(const auto interval, flags.Count("stream-interval"));
  if (choices.has_value()) request.mutable_sampling()->set_n(*choices);
  if (logprobs.has_value()) request.set_logprobs(*logprobs);
  if (interval.has_value()) request.set_stream_interval(*interval);
  request.set_request_id(flags.Text("request-id"));
  request.set_model(flags.Text("model"));
  request.set_ignore_eos(flags.Has("ignore-eos"));
  request.set_prompt_logprobs(flags.Has("prompt-logprobs"));
  for (const std::string& text : flags.Texts("stop-token-id")) {
    uint32_t id = 0;
    if (!absl::SimpleAtoi(text, &id)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--stop-token-id: \"", text, "\" is no token id"));
    }
    request.add_stop_token_ids(id);
  }
  return request;
}

std::string TargetOf(const Flags& flags) {
  return flags.Has("target") ? flags.Text("target") : "127.0.0.1:8440";
}

absl::StatusOr<absl::Time> DeadlineOf(const Flags& flags) {
  if (!flags.Has("timeout")) return absl::InfiniteFuture();
  absl::Duration timeout;
  const std::string text = flags.Text("timeout");
  if (!absl::ParseDuration(text, &timeout) || timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--timeout: \"", text, "\" is no duration above 0 (30s, 2m)"));
  }
  return Clock::Real().Now() + timeout;
}

absl::StatusOr<v1::Chat> ChatFromJson(const std::string& text) {
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return absl::InvalidArgumentError("--messages: the file is no JSON");
  const json messages = root.is_object() ? root.value("messages", json()) : root;
  if (!messages.is_array()) return absl::InvalidArgumentError("--messages: no list of messages");
  v1::Chat chat;
  for (const json& in : messages) {
    ASSIGN_OR_RETURN(*chat.add_messages(), MessageOf(in, chat.messages_size()));
  }
  if (root.is_object()) {
    chat.set_tools_json(TextOf(root, "tools"));
    chat.set_response_format_json(TextOf(root, "response_format"));
  }
  return chat;
}

}  // namespace tandem
