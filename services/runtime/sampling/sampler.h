// SPDX-License-Identifier: Apache-2.0
// Sampler: how one sequence draws its tokens. Everything that must survive the hand-off is in two
// values: the seed and the number of tokens drawn so far; so prefill draws token 0 and decode goes
// on with token 1 as if it were one process. A draw (draws.h) depends on nothing else: not on batch
// neighbours, nor on time. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/types/span.h"

namespace tandem {

// Every field set and in range (the router validates): see proto/tandem/v1/inference.proto,
// Sampling.
struct SamplerSpec {
  float temperature = 1;
  float top_p = 1;
  int top_k = 0;
  float min_p = 0;
  uint64_t seed = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::optional<int> logprobs;  // best tokens a step; absent = no log-probabilities
};

struct RankedToken {
  int32_t id = 0;
  float logprob = 0;
};

struct TokenChoice {
  int32_t id = 0;
  float logprob = 0;             // of the model's own distribution, if asked for
  std::vector<RankedToken> top;  // best first
};

class Sampler {
 public:
  // `prompt`: needed only with a repetition penalty.
  Sampler(const SamplerSpec& spec, absl::Span<const int32_t> prompt);

  // The answer's next token is `id`, drawn here or elsewhere.
  void Accept(int32_t id);

  const SamplerSpec& spec() const { return spec_; }
  uint64_t drawn() const { return drawn_; }
  // How often a token stands in the answer; 0: in the prompt only. Kept only if a penalty needs it.
  const std::map<int32_t, int32_t>& seen() const { return seen_; }

 private:
  SamplerSpec spec_;
  uint64_t drawn_ = 0;
  std::map<int32_t, int32_t> seen_;
};

}  // namespace tandem
