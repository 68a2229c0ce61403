// SPDX-License-Identifier: Apache-2.0
#include "services/router/request_validator.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

constexpr size_t kRequestIdBytesMax = 128;
constexpr size_t kStopBytesMax = 256;
// Below, a logit would be multiplied out of what a float holds; workers refuse it too.
constexpr double kRepetitionMin = 1e-3F;
constexpr int kStopsMax = 64;
constexpr int kStopIdsMax = 1024;

// Collects what is wrong.
class Violations {
 public:
  void Add(absl::string_view field, const std::string& description) {
    list_.push_back({.field = std::string(field), .description = description});
  }

  struct Bounds {
    double min = 0;
    double max = 0;
    bool min_excluded = false;
  };
  void Number(absl::string_view field, double value, const Bounds& bounds) {
    // Written so that NaN fails.
    const bool above = bounds.min_excluded ? value > bounds.min : value >= bounds.min;
    if (above && value <= bounds.max) return;
    Add(field, absl::StrCat(value, " is outside of ", bounds.min_excluded ? "above " : "",
                            bounds.min, " to ", bounds.max));
  }

  template <typename Ids>
  void TokenIds(absl::string_view field, const Ids& ids, uint32_t vocab_size) {
    for (int i = 0; i < ids.size(); ++i) {
      if (ids[i] < vocab_size) continue;
      Add(absl::StrCat(field, "[", i, "]"),
          absl::StrCat(ids[i], " is not below the vocabulary size of ", vocab_size));
      return;  // One is enough: there may be a million.
    }
  }

  absl::Status ToStatus() const { return list_.empty() ? absl::OkStatus() : InvalidFields(list_); }

 private:
  std::vector<FieldViolation> list_;
};

void CheckIdentity(const v1::GenerateRequest& request, const RequestLimits& limits,
                   Violations& out) {
  const std::string& id = request.request_id();
  if (id.size() > kRequestIdBytesMax) {
    out.Add("request_id",
            absl::StrCat("has ", id.size(), " bytes; the limit is ", kRequestIdBytesMax));
  }
  if (std::any_of(id.begin(), id.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; })) {
    out.Add("request_id", "has control characters");
  }
  if (!request.model().empty() && request.model() != limits.model) {
    out.Add("model", absl::StrCat("\"", request.model().substr(0, kRequestIdBytesMax),
                                  "\" is not served; \"", limits.model, "\" is"));
  }
}

void CheckSampling(const v1::Sampling& sampling, const RequestLimits& limits, Violations& out) {
  if (sampling.has_temperature()) {
    out.Number("sampling.temperature", sampling.temperature(), {.min = 0, .max = 100});
  }
  if (sampling.has_top_p()) {
    out.Number("sampling.top_p", sampling.top_p(), {.min = 0, .max = 1, .min_excluded = true});
  }
  if (sampling.has_min_p()) out.Number("sampling.min_p", sampling.min_p(), {.min = 0, .max = 1});
  if (sampling.has_repetition_penalty()) {
    out.Number("sampling.repetition_penalty", sampling.repetition_penalty(),
               {.min = kRepetitionMin, .max = 10});
  }
  if (sampling.has_presence_penalty()) {
    out.Number("sampling.presence_penalty", sampling.presence_penalty(), {.min = -2, .max = 2});
  }
  if (sampling.has_frequency_penalty()) {
    out.Number("sampling.frequency_penalty", sampling.frequency_penalty(), {.min = -2, .max = 2});
  }
  if (sampling.has_n() && (sampling.n() < 1 || sampling.n() > limits.choices_max)) {
    out.Add("sampling.n", absl::StrCat(sampling.n(), " is outside of 1 to ", limits.choices_max));
  }
}

void CheckStops(const v1::GenerateRequest& request, const RequestLimits& limits, Violations& out) {
  if (request.stop_size() > kStopsMax) {
    out.Add("stop", absl::StrCat("has ", request.stop_size(), " texts; the limit is ", kStopsMax));
  }
  for (int i = 0; i < std::min(request.stop_size(), kStopsMax); ++i) {
    const size_t bytes = request.stop(i).size();
    if (bytes >= 1 && bytes <= kStopBytesMax) continue;
    out.Add(absl::StrCat("stop[", i, "]"),
            absl::StrCat("has ", bytes, " bytes; the limits are 1 and ", kStopBytesMax));
  }
  if (request.stop_token_ids_size() > kStopIdsMax) {
    out.Add("stop_token_ids", absl::StrCat("has ", request.stop_token_ids_size(),
                                           " ids; the limit is ", kStopIdsMax));
  }
  out.TokenIds("stop_token_ids", request.stop_token_ids(), limits.vocab_size);
}

void CheckLengths(const v1::GenerateRequest& request, const RequestLimits& limits,
                  Violations& out) {
  if (request.has_max_tokens() && request.max_tokens() == 0) {
    out.Add("max_tokens", "0 is below the limit of 1");
  }
  if (request.has_logprobs() && request.logprobs() > limits.logprobs_max) {
    out.Add("logprobs",
            absl::StrCat(request.logprobs(), " is above the limit of ", limits.logprobs_max));
  }
}

template <typename Request>
void CheckChat(const Request& request, Violations& out) {
  if (request.has_chat()) {
    if (request.chat().messages().empty()) out.Add("chat.messages", "is empty");
    if (!v1::Thinking_IsValid(request.thinking())) {
      out.Add("thinking", absl::StrCat(static_cast<int>(request.thinking()), " is unknown"));
    }
    if (!v1::ReasoningEffort_IsValid(request.reasoning_effort())) {
      out.Add("reasoning_effort",
              absl::StrCat(static_cast<int>(request.reasoning_effort()), " is unknown"));
    }
    if (request.reasoning_effort() != v1::REASONING_EFFORT_UNSPECIFIED &&
        request.thinking() != v1::THINKING_ON) {
      out.Add("reasoning_effort", "needs thinking to be THINKING_ON");
    }
    return;
  }
  if (request.thinking() != v1::THINKING_UNSPECIFIED) out.Add("thinking", "needs a chat");
  if (request.reasoning_effort() != v1::REASONING_EFFORT_UNSPECIFIED) {
    out.Add("reasoning_effort", "needs a chat");
  }
}

}  // namespace

absl::Status ValidateRequest(const v1::GenerateRequest& request, const RequestLimits& limits) {
  Violations out;
  CheckIdentity(request, limits, out);
  if (request.input_case() == v1::GenerateRequest::INPUT_NOT_SET) {
    out.Add("input", "is required: text, token_ids or chat");
  }
  out.TokenIds("token_ids.ids", request.token_ids().ids(), limits.vocab_size);
  CheckChat(request, out);
  CheckSampling(request.sampling(), limits, out);
  CheckStops(request, limits, out);
  CheckLengths(request, limits, out);
  return out.ToStatus();
}

absl::Status ValidateTokenize(const v1::TokenizeRequest& request) {
  Violations out;
  if (request.input_case() == v1::TokenizeRequest::INPUT_NOT_SET) {
    out.Add("input", "is required: text or chat");
  }
  CheckChat(request, out);
  return out.ToStatus();
}

absl::Status ValidateDetokenize(const v1::DetokenizeRequest& request, const RequestLimits& limits) {
  Violations out;
  out.TokenIds("token_ids", request.token_ids(), limits.vocab_size);
  return out.ToStatus();
}

std::vector<uint32_t> StopIdsOf(const v1::GenerateRequest& request, uint32_t eos) {
  std::vector<uint32_t> ids(request.stop_token_ids().begin(), request.stop_token_ids().end());
  if (!request.ignore_eos()) ids.push_back(eos);
  return ids;
}

uint32_t TokensAtLeast(const v1::GenerateRequest& request) {
  return std::max(1, request.token_ids().ids_size()) + std::max(1U, request.max_tokens());
}

absl::StatusOr<uint32_t> AnswerTokensMax(const v1::GenerateRequest& request, uint64_t prompt_tokens,
                                         const RequestLimits& limits) {
  if (prompt_tokens == 0) return InvalidField("input", "the prompt has 0 tokens; it needs 1");
  const uint64_t context = limits.context_tokens_max;
  if (prompt_tokens >= context) {
    return PromptTooLong({.limit = context == 0 ? 0 : context - 1, .got = prompt_tokens});
  }
  const auto room = static_cast<uint32_t>(context - prompt_tokens);
  if (!request.has_max_tokens()) return std::min(limits.max_tokens_default, room);
  if (request.max_tokens() <= room) return request.max_tokens();
  return InvalidField("max_tokens", absl::StrCat(request.max_tokens(), " is above the limit of ",
                                                 room, ": the context holds ", context,
                                                 " tokens, the prompt has ", prompt_tokens));
}

v1::SamplingParams ResolveSampling(const v1::GenerateRequest& request,
                                   const SamplingDefaults& defaults) {
  const v1::Sampling& in = request.sampling();
  v1::SamplingParams out;
  out.set_temperature(in.has_temperature() ? in.temperature() : defaults.temperature);
  out.set_top_p(in.has_top_p() ? in.top_p() : defaults.top_p);
  out.set_top_k(in.top_k());
  out.set_min_p(in.min_p());
  out.set_repetition_penalty(in.has_repetition_penalty() ? in.repetition_penalty() : 1);
  out.set_presence_penalty(in.presence_penalty());
  out.set_frequency_penalty(in.frequency_penalty());
  if (request.has_logprobs()) out.set_logprobs(request.logprobs());
  return out;
}

}  // namespace tandem
