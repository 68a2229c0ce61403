// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/sampling/sampling_wire.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

// What the kernels can work with; the public, tighter limits are the router's.
absl::Status Within(absl::string_view field, float value, float low, float high) {
  if (std::isfinite(value) && value >= low && value <= high) return absl::OkStatus();
  return InvalidField(absl::StrCat("sampling.", field),
                      absl::StrCat(low, " to ", high, ", got ", value));
}

}  // namespace

SamplerSpec SpecOf(const v1::SamplingParams& params) {
  SamplerSpec spec{.temperature = params.temperature(),
                   .top_p = params.top_p(),
                   .top_k = static_cast<int>(params.top_k()),
                   .min_p = params.min_p(),
                   .seed = params.seed(),
                   .repetition_penalty = params.repetition_penalty(),
                   .presence_penalty = params.presence_penalty(),
                   .frequency_penalty = params.frequency_penalty(),
                   .logprobs = std::nullopt};
  if (params.has_logprobs()) spec.logprobs = static_cast<int>(params.logprobs());
  return spec;
}

v1::SampledToken ToProto(const TokenChoice& choice) {
  v1::SampledToken out;
  out.set_id(choice.id);
  out.set_logprob(choice.logprob);
  for (const RankedToken& token : choice.top) {
    out.mutable_top()->add_token_ids(token.id);
    out.mutable_top()->add_logprobs(token.logprob);
  }
  return out;
}

absl::Status CheckSampling(const v1::SamplingParams& params, int vocab_size) {
  absl::Status status = Within("temperature", params.temperature(), 0, 100);
  status.Update(Within("top_p", params.top_p(), 0, 1));
  status.Update(Within("min_p", params.min_p(), 0, 1));
  status.Update(Within("repetition_penalty", params.repetition_penalty(), 1e-3F, 1e3F));
  status.Update(Within("presence_penalty", params.presence_penalty(), -100, 100));
  status.Update(Within("frequency_penalty", params.frequency_penalty(), -100, 100));
  const auto vocab = static_cast<uint32_t>(vocab_size);
  if (params.logprobs() > vocab) {
    status.Update(InvalidField("sampling.logprobs",
                               absl::StrCat("at most ", vocab, ", got ", params.logprobs())));
  }
  return status;
}

}  // namespace tandem
