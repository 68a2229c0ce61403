// SPDX-License-Identifier: Apache-2.0
// Answer: one choice's tokens as they come, turned into deltas: text, reasoning, tool calls, stop
// texts, log-probabilities.
//
// Pipeline: token → characters (Detokenizer) → stop texts (StopStrings) → reasoning, answer, calls
// (StreamParser; chat only). A pure value machine: no clock, thread or RPC; one owner. Every token
// that is taken is counted and delivered exactly once, the one that ends the answer included; its
// text is not shown. Special tokens (BOS, EOS) have no text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "services/runtime/text/detokenizer.h"
#include "services/runtime/text/stop_strings.h"
#include "services/runtime/text/stream_parser.h"
#include "tandem/v1/inference.pb.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

// How the text is read.
enum class AnswerForm { kPlain, kChat, kThinking };

struct AnswerOptions {
  const Tokenizer* tokenizer = nullptr;  // null: no text, no stop texts
  uint32_t choice = 0;
  AnswerForm form = AnswerForm::kPlain;
  std::vector<uint32_t> stop_token_ids;  // the end-of-sentence token too, unless it is ignored
  std::vector<std::string> stop;         // valid for StopStrings
  uint32_t tokens_max = 0;               // at least 1
  uint32_t stream_interval = 0;          // tokens a delta at least, after the first
  bool logprobs = false;
  std::string tool_call_prefix;  // of the ids of tool calls; their index follows
};

// Two deltas of a choice as one: `from`, which is used up, follows `into`.
void Join(v1::Delta& into, v1::Delta& from);

class Answer {
 public:
  explicit Answer(const AnswerOptions& options);

  // The next token. After the end tokens are dropped.
  void Push(const v1::SampledToken& token);

  // For the first delta.
  void SetPromptLogprobs(const google::protobuf::RepeatedField<float>& logprobs);

  // Releases what was held back, for an end that Push did not see. Harmless after one that it saw.
  void Finish();

  // How Push saw the end: STOP, LENGTH or TOOL_CALLS.
  std::optional<v1::FinishReason> finished() const { return finished_; }

  // A delta is due. Take() gives it.
  bool Ready() const;
  v1::Delta Take();

  uint32_t completion_tokens() const { return completion_tokens_; }
  uint32_t reasoning_tokens() const { return reasoning_tokens_; }
  // As StreamParser has them, after the end.
  ToolCallCounts tool_calls() const {
    return parser_.has_value() ? parser_->calls() : ToolCallCounts();
  }
  // The stop text met; empty without.
  std::string stop_text() const;

 private:
  void Show(const std::string& text);
  void AddPiece(const CompletionDelta& piece);
  void AddCall(v1::ToolCall call);
  void End(v1::FinishReason reason);

  const AnswerOptions options_;
  std::optional<Detokenizer> detokenizer_;
  std::optional<StopStrings> stops_;
  std::optional<StreamParser> parser_;
  std::optional<v1::ToolCall> open_call_;  // begun, not yet whole
  v1::Delta pending_;
  std::optional<v1::FinishReason> finished_;
  bool flushed_ = false;
  bool any_taken_ = false;
  uint32_t calls_ = 0;
  uint32_t completion_tokens_ = 0;
  uint32_t reasoning_tokens_ = 0;
};

}  // namespace tandem
