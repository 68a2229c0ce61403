// SPDX-License-Identifier: Apache-2.0
#include "services/tools/json_answer.h"

#include <algorithm>

#include "services/runtime/config/duration.h"
#include "services/tools/client.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

template <typename Values>
void Extend(Json& list, const Values& values) {
  for (const auto& value : values) list.push_back(value);
}

double SecondsOf(const google::protobuf::Duration& duration) {
  return absl::ToDoubleSeconds(FromProto(duration));
}

Json TimingOf(const v1::Timing& timing) {
  return {{"tokenize", SecondsOf(timing.tokenize())},
          {"reserve", SecondsOf(timing.reserve())},
          {"prefill_queue", SecondsOf(timing.prefill_queue())},
          {"prefill", SecondsOf(timing.prefill())},
          {"kv_transfer", SecondsOf(timing.kv_transfer())},
          {"decode", SecondsOf(timing.decode())},
          {"ttft", SecondsOf(timing.ttft())},
          {"total", SecondsOf(timing.total())}};
}

Json EmptyChoice(const v1::GenerateRequest& request) {
  Json choice = {{"text", ""}, {"reasoning", ""}, {"token_ids", Json::array()}};
  if (request.has_logprobs()) {
    choice["logprobs"] = Json::array();
    choice["top_logprobs"] = Json::array();
  }
  choice["tool_calls"] = Json::array();
  return choice;
}

}  // namespace

JsonAnswer::JsonAnswer(const v1::GenerateRequest& request)
    : head_(Json::object()),
      choices_(std::clamp(request.sampling().n(), 1U, 4096U), EmptyChoice(request)) {}

void JsonAnswer::Add(const v1::GenerateResponse& event) {
  if (event.has_accepted()) {
    head_["request_id"] = event.accepted().request_id();
    head_["prompt_tokens"] = event.accepted().prompt_tokens();
  }
  if (event.has_delta() && event.delta().choice() < choices_.size()) AddDelta(event.delta());
  if (!event.has_finished() || event.finished().choice() >= choices_.size()) return;
  const v1::Finished& finished = event.finished();
  Json& choice = choices_[finished.choice()];
  choice["finish_reason"] = NameOf(finished.reason());
  choice["stop_text"] = finished.stop_text();
  choice["usage"] = {{"prompt_tokens", finished.usage().prompt_tokens()},
                     {"completion_tokens", finished.usage().completion_tokens()},
                     {"reasoning_tokens", finished.usage().reasoning_tokens()}};
  choice["timing"] = TimingOf(finished.timing());
}

void JsonAnswer::AddDelta(const v1::Delta& delta) {
  Json& choice = choices_[delta.choice()];
  choice["text"] = choice["text"].get<std::string>() + delta.text();
  choice["reasoning"] = choice["reasoning"].get<std::string>() + delta.reasoning();
  Extend(choice["token_ids"], delta.token_ids());
  if (!delta.prompt_logprobs().empty()) Extend(head_["prompt_logprobs"], delta.prompt_logprobs());
  if (choice.contains("logprobs")) {
    Extend(choice["logprobs"], delta.logprobs());
    for (const v1::TopLogprobs& top : delta.top()) {
      Json step = {{"token_ids", Json::array()}, {"logprobs", Json::array()}};
      Extend(step["token_ids"], top.token_ids());
      Extend(step["logprobs"], top.logprobs());
      choice["top_logprobs"].push_back(std::move(step));
    }
  }
  for (const v1::ToolCall& call : delta.tool_calls()) {
    choice["tool_calls"].push_back(
        {{"id", call.id()}, {"name", call.name()}, {"arguments", call.arguments_json()}});
  }
}

std::string JsonAnswer::Text() const {
  Json out = head_;
  out.update(choices_.front());
  if (choices_.size() > 1) out["choices"] = choices_;
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tandem
