// SPDX-License-Identifier: Apache-2.0
#include "services/prefill/admission.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/sampling/sampling_wire.h"

namespace tandem {
namespace {

// What a message shows of a time, and the least that a caller is told to wait.
constexpr absl::Duration kShown = absl::Milliseconds(10);

}  // namespace

absl::Status Admission::CheckWait(const Queue& queue) const {
  const int64_t ahead = TokensAhead(queue);
  const absl::Duration wait = wait_.Behind(ahead);
  if (wait <= limits_.queue_wait_max) return absl::OkStatus();
  const auto shown = [](absl::Duration time) {
    return absl::FormatDuration(absl::Trunc(time, kShown));
  };
  return QueueFull({.message = absl::StrCat("the prompt would wait ", shown(wait), " for ", ahead,
                                            " tokens before it; queue_wait_max is ",
                                            shown(limits_.queue_wait_max)),
                    .after = std::max(wait - limits_.queue_wait_max, kShown)});
}

absl::Status Admission::Check(const v1::PrefillRequest& request, const Queue& queue) const {
  if (queue.prompts >= limits_.requests_max) {
    return QueueFull(
        {.message = absl::StrCat("prefill requests: at most ", limits_.requests_max, " at once")});
  }
  RETURN_IF_ERROR(CheckWait(queue));
  const int64_t tokens = request.token_ids_size();
  if (tokens < 1) return InvalidField("token_ids", "at least 1, got 0");
  if (tokens > limits_.context_tokens_max) {
    return PromptTooLong({.limit = static_cast<uint64_t>(limits_.context_tokens_max),
                          .got = static_cast<uint64_t>(tokens)});
  }
  for (const uint32_t id : request.token_ids()) {
    if (id >= limits_.vocab_size) {
      return InvalidField("token_ids", absl::StrCat("below ", limits_.vocab_size, ", got ", id));
    }
  }
  return CheckSampling(request.sampling(), static_cast<int>(limits_.vocab_size));
}

}  // namespace tandem
