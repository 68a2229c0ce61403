// SPDX-License-Identifier: Apache-2.0
#include "services/decode/answers/generate_request.h"

#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/sampling/sampling_wire.h"

namespace tandem {

absl::Status CheckGenerate(const v1::DecodeServiceGenerateRequest& request,
                           const ModelConfig& config) {
  if (request.prompt_tokens() < 1) return InvalidField("prompt_tokens", "at least 1, got 0");
  if (request.max_tokens() < 1) return InvalidField("max_tokens", "at least 1, got 0");
  const auto vocab = static_cast<uint32_t>(config.vocab_size);
  if (request.first_token() >= vocab) {
    return InvalidField("first_token",
                        absl::StrCat("below ", vocab, ", got ", request.first_token()));
  }
  for (const uint32_t id : request.prompt_token_ids()) {
    if (id >= vocab)
      return InvalidField("prompt_token_ids", absl::StrCat("below ", vocab, ", got ", id));
  }
  return CheckSampling(request.sampling(), config.vocab_size);
}

EndCriteria EndCriteriaOf(const v1::DecodeServiceGenerateRequest& request) {
  return {.tokens_max = static_cast<int>(request.max_tokens()),
          .stop_tokens = {request.stop_token_ids().begin(), request.stop_token_ids().end()}};
}

v1::FinishReason ReasonOf(EndReason reason) {
  return reason == EndReason::kStop ? v1::FINISH_REASON_STOP : v1::FINISH_REASON_LENGTH;
}

}  // namespace tandem
