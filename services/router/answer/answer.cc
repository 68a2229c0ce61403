// SPDX-License-Identifier: Apache-2.0
#include "services/router/answer/answer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"

namespace tandem {
namespace {

std::optional<StopStrings> StopsOf(const AnswerOptions& options) {
  if (options.stop.empty()) return std::nullopt;
  auto stops = StopStrings::Create(options.stop);
  CHECK(stops.ok());  // The validator's limits are tighter.
  return *std::move(stops);
}

std::optional<Detokenizer> DetokenizerOf(const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return std::nullopt;
  return std::make_optional<Detokenizer>(*tokenizer, DecodeOptions{.skip_special = true});
}

std::optional<StreamParser> ParserOf(AnswerForm form) {
  if (form == AnswerForm::kPlain) return std::nullopt;
  return StreamParser(form == AnswerForm::kThinking ? ThinkingMode::kThinking
                                                    : ThinkingMode::kChat);
}

}  // namespace

void Join(v1::Delta& into, v1::Delta& from) {
  // Keeps its own first_index; lists and texts are appended, in which protobuf leaves strings to
  // us.
  into.mutable_text()->append(from.text());
  into.mutable_reasoning()->append(from.reasoning());
  from.clear_text();
  from.clear_reasoning();
  from.set_first_index(into.first_index());
  into.MergeFrom(from);
}

Answer::Answer(const AnswerOptions& options)
    : options_(options),
      detokenizer_(DetokenizerOf(options.tokenizer)),
      stops_(StopsOf(options)),
      parser_(ParserOf(options.form)) {
  CHECK_GE(options_.tokens_max, 1U);
}

void Answer::Push(const v1::SampledToken& token) {
  if (finished_.has_value()) return;
  ++completion_tokens_;
  if (parser_.has_value() && parser_->in_reasoning()) ++reasoning_tokens_;
  pending_.add_token_ids(token.id());
  if (options_.logprobs) {
    pending_.add_logprobs(token.logprob());
    *pending_.add_top() = token.top();
  }
  const auto& ends = options_.stop_token_ids;
  if (std::find(ends.begin(), ends.end(), token.id()) != ends.end()) {
    return End(v1::FINISH_REASON_STOP);
  }
  if (detokenizer_.has_value()) Show(detokenizer_->Push(static_cast<int32_t>(token.id())));
  if (stops_.has_value() && stops_->stopped()) return End(v1::FINISH_REASON_STOP);
  if (completion_tokens_ >= options_.tokens_max) End(v1::FINISH_REASON_LENGTH);
}

void Answer::SetPromptLogprobs(const google::protobuf::RepeatedField<float>& logprobs) {
  *pending_.mutable_prompt_logprobs() = logprobs;
}

void Answer::Show(const std::string& text) {
  const std::string shown = stops_.has_value() ? stops_->Append(text) : text;
  if (shown.empty()) return;
  if (parser_.has_value()) return AddPiece(parser_->Append(shown));
  pending_.mutable_text()->append(shown);
}

void Answer::AddPiece(const CompletionDelta& piece) {
  pending_.mutable_reasoning()->append(piece.reasoning);
  pending_.mutable_text()->append(piece.content);
  for (const ToolCallDelta& delta : piece.tool_calls) {
    // A name comes with a call's first delta only: the call before it is whole.
    if (!delta.name.empty()) {
      if (open_call_.has_value()) AddCall(*std::exchange(open_call_, std::nullopt));
      open_call_.emplace().set_id(absl::StrCat(options_.tool_call_prefix, delta.index));
      open_call_->set_name(delta.name);
    }
    if (open_call_.has_value()) open_call_->mutable_arguments_json()->append(delta.arguments);
  }
}

void Answer::AddCall(v1::ToolCall call) {
  ++calls_;
  *pending_.add_tool_calls() = std::move(call);
}

void Answer::End(v1::FinishReason reason) {
  Finish();
  const bool calls = reason == v1::FINISH_REASON_STOP && calls_ > 0;
  finished_ = calls ? v1::FINISH_REASON_TOOL_CALLS : reason;
}

void Answer::Finish() {
  if (std::exchange(flushed_, true)) return;
  if (detokenizer_.has_value()) Show(detokenizer_->Flush());
  if (stops_.has_value()) {
    const std::string held = stops_->Flush();
    if (parser_.has_value()) {
      AddPiece(parser_->Append(held));
    } else {
      pending_.mutable_text()->append(held);
    }
  }
  if (parser_.has_value()) AddPiece(parser_->Finish());
  if (open_call_.has_value()) AddCall(*std::exchange(open_call_, std::nullopt));
}

bool Answer::Ready() const {
  if (flushed_) {
    return !pending_.token_ids().empty() || !pending_.text().empty() ||
           !pending_.reasoning().empty() || !pending_.tool_calls().empty() ||
           !pending_.prompt_logprobs().empty();
  }
  if (pending_.token_ids().empty()) return false;
  return !any_taken_ || pending_.token_ids_size() >= static_cast<int64_t>(options_.stream_interval);
}

v1::Delta Answer::Take() {
  any_taken_ = true;
  pending_.set_choice(options_.choice);
  pending_.set_first_index(completion_tokens_ - pending_.token_ids_size());
  return std::exchange(pending_, v1::Delta());
}

std::string Answer::stop_text() const {
  return stops_.has_value() ? std::string(stops_->stopped_by()) : std::string();
}

}  // namespace tandem
