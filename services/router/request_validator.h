// SPDX-License-Identifier: Apache-2.0
// What a request may say, field by field, and what its absent fields mean. Pure functions;
// thread-safe. Every violation is reported, each with its limit and its value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tandem/v1/inference.pb.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

struct RequestLimits {
  std::string model;
  uint32_t vocab_size = 0;
  uint32_t context_tokens_max = 0;  // prompt and answer
  uint32_t logprobs_max = 0;
  uint32_t choices_max = 0;
  uint32_t max_tokens_default = 0;
};

// Of the model's generation_config.json.
struct SamplingDefaults {
  float temperature = 1;
  float top_p = 1;
};

// All that can be said before the prompt is tokenised.
absl::Status ValidateRequest(const v1::GenerateRequest& request, const RequestLimits& limits);
absl::Status ValidateTokenize(const v1::TokenizeRequest& request);
absl::Status ValidateDetokenize(const v1::DetokenizeRequest& request, const RequestLimits& limits);

// Completions that are asked for.
inline uint32_t ChoicesOf(const v1::GenerateRequest& request) {
  return request.sampling().has_n() ? request.sampling().n() : 1;
}
// Tokens that end an answer; `eos`: the model's.
std::vector<uint32_t> StopIdsOf(const v1::GenerateRequest& request, uint32_t eos);
// Of prompt and answer, as far as it can be told without a look at the prompt.
uint32_t TokensAtLeast(const v1::GenerateRequest& request);

// Tokens of the answer at most. PROMPT_TOO_LONG when there is no room for one; INVALID_FIELD when
// the request's own max_tokens does not fit, or the prompt is empty.
absl::StatusOr<uint32_t> AnswerTokensMax(const v1::GenerateRequest& request, uint64_t prompt_tokens,
                                         const RequestLimits& limits);

// Request, else the model's defaults, else the contract's. The seed is the caller's to set.
v1::SamplingParams ResolveSampling(const v1::GenerateRequest& request,
                                   const SamplingDefaults& defaults);

}  // namespace tandem
