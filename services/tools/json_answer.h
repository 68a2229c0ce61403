// SPDX-License-Identifier: Apache-2.0
// JsonAnswer: all events of one Generate call as one JSON object. One owner.
//
// {request_id, prompt_tokens, token_ids, text, reasoning, logprobs?, top_logprobs?,
// prompt_logprobs?, tool_calls, finish_reason, stop_text, usage, timing (seconds)} of choice 0;
// with more choices also "choices", a list of the same.
#pragma once

#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tandem/v1/inference.pb.h"

namespace tandem {

class JsonAnswer {
 public:
  explicit JsonAnswer(const v1::GenerateRequest& request);

  void Add(const v1::GenerateResponse& event);
  std::string Text() const;

 private:
  void AddDelta(const v1::Delta& delta);

  nlohmann::ordered_json head_;
  std::vector<nlohmann::ordered_json> choices_;
};

}  // namespace tandem
