// SPDX-License-Identifier: Apache-2.0
// ServedModel: what the router knows of a checkpoint folder: tokenizer, chat encoding, sizes,
// sampling defaults. No weights. Immutable after Load, thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/text/tokenizer.h"
#include "tandem/v1/inference.pb.h"

namespace tandem {

struct Prompt {
  std::string text;
  std::vector<uint32_t> token_ids;
  absl::Duration rendering;  // of a chat, before it was tokenised
};

struct ChatRendering {
  const v1::Chat& chat;
  v1::Thinking thinking = v1::THINKING_UNSPECIFIED;
  v1::ReasoningEffort effort = v1::REASONING_EFFORT_UNSPECIFIED;
};

class ServedModel {
 public:
  // Reads config.json, generation_config.json and tokenizer.json, the latter two if they are there:
  // a checkpoint without a tokenizer is served by token ids. Errors name the file.
  static absl::StatusOr<std::unique_ptr<ServedModel>> Load(const std::string& folder,
                                                           const std::string& name);

  // INVALID_FIELD when there is no tokenizer to do what `field` asks for.
  absl::Status NeedTokenizer(absl::string_view field) const;

  // Special tokens in the text count.
  absl::StatusOr<Prompt> FromText(absl::string_view text) const;
  // Special tokens in the request's words are words. INVALID_FIELD names what cannot be rendered.
  absl::StatusOr<Prompt> FromChat(const ChatRendering& rendering) const;

  const std::string& name() const { return name_; }
  // Null without tokenizer.json.
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  uint32_t vocab_size() const { return static_cast<uint32_t>(config_.vocab_size); }
  uint32_t context_tokens_max() const;
  uint32_t eos_token_id() const { return static_cast<uint32_t>(config_.eos_token_id); }
  float default_temperature() const { return static_cast<float>(config_.default_temperature); }
  float default_top_p() const { return static_cast<float>(config_.default_top_p); }

 private:
  ServedModel() = default;

  std::string name_;
  ModelConfig config_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

}  // namespace tandem
