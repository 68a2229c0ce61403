// SPDX-License-Identifier: Apache-2.0
// Sampler: logits of one sequence in, its next token out. Everything that must survive the hand-off
// is in two values: the seed and the number of tokens drawn so far; so prefill draws token 0 and
// decode goes on with token 1 as if it were one process. The draw depends on nothing else: not on
// batch neighbours, nor on time. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "kernels/kernel_table.h"

namespace tandem {

// The table that computes and the stream it computes in: one loop's, borrowed.
struct Kernels {
  const kernels::KernelTable& table;
  kernels::Stream& stream;
};

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

  // `logits` [vocab]. Draws with the current counter; does not count the token.
  TokenChoice Draw(const Kernels& kernels, absl::Span<const float> logits) const;

  // The answer's next token is `id`, drawn here or elsewhere.
  void Accept(int32_t id);

  const SamplerSpec& spec() const { return spec_; }

 private:
  void Penalise(const Kernels& kernels, std::vector<float>& logits) const;

  SamplerSpec spec_;
  uint64_t drawn_ = 0;
  // How often a token stands in the answer; 0: in the prompt only. Kept only if a penalty needs it.
  std::map<int32_t, int32_t> seen_;
};

// log P(token) under softmax(logits).
float LogProbability(const Kernels& kernels, absl::Span<const float> logits, int32_t token);

}  // namespace tandem
