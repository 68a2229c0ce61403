// SPDX-License-Identifier: Apache-2.0
#include "services/router/workers/placement.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

// What the worker says lags by up to a second; what this router has sent there does not.
int64_t Load(const WorkerView& worker) {
  const int64_t said = int64_t{worker.state->running()} + worker.state->waiting();
  return std::max<int64_t>(said, worker.assigned);
}

int64_t TokensToRead(const WorkerView& worker) {
  return std::max(static_cast<int64_t>(worker.state->tokens_waiting()), worker.unread);
}

// Least loaded usable prefill worker that shares the format.
std::optional<int> PrefillFor(const v1::KvFormat& format, absl::Span<const WorkerView> workers) {
  std::vector<int> fit;
  for (int i = 0; i < static_cast<int>(workers.size()); ++i) {
    if (workers[i].usable && SameFormat(workers[i].state->kv_format(), format)) fit.push_back(i);
  }
  if (fit.empty()) return std::nullopt;
  const bool all_say =
      absl::c_all_of(fit, [&](int i) { return workers[i].state->has_tokens_waiting(); });
  const auto cost = [&](int i) {
    return std::make_pair(all_say ? TokensToRead(workers[i]) : 0, Load(workers[i]));
  };
  return *absl::c_min_element(fit, [&](int a, int b) { return cost(a) < cost(b); });
}

const WorkerView* FirstUsable(absl::Span<const WorkerView> workers) {
  for (const WorkerView& worker : workers) {
    if (worker.usable) return &worker;
  }
  return nullptr;
}

// Why no pair was found.
absl::Status Explain(const PlacementRequest& request, uint32_t tokens_max) {
  const WorkerView* prefill = FirstUsable(request.prefill);
  const WorkerView* decode = FirstUsable(request.decode);
  if (prefill == nullptr) return NoWorker({.message = "no prefill worker is up"});
  if (decode == nullptr) return NoWorker({.message = "no decode worker is up"});
  if (tokens_max > 0) {
    return KvBudget({.message = absl::StrCat("prompt and answer need ", request.tokens,
                                             " tokens; the largest decode worker that is up holds ",
                                             tokens_max)});
  }
  return LayoutMismatch(
      absl::StrCat("no prefill and decode worker share a cache format: ", prefill->endpoint,
                   " has ", prefill->state->kv_format().description(), ", ", decode->endpoint,
                   " has ", decode->state->kv_format().description()));
}

}  // namespace

int64_t PlacesFor(const v1::WatchResponse& decode, uint32_t tokens) {
  const uint32_t page_tokens = std::max(1U, decode.kv_format().page_tokens());
  const uint64_t pages = std::max<uint64_t>(1, (uint64_t{tokens} + page_tokens - 1) / page_tokens);
  return std::min<int64_t>(decode.slots_free(), static_cast<int64_t>(decode.pages_free() / pages));
}

bool SameFormat(const v1::KvFormat& a, const v1::KvFormat& b) {
  return a.protocol_version() == b.protocol_version() && a.layout_hash() == b.layout_hash() &&
         a.page_tokens() == b.page_tokens();
}

absl::Status DecodeFull() {
  return KvBudget({.message = "no decode worker has room: what runs there has to end first"});
}

absl::StatusOr<PlacedPair> Place(const PlacementRequest& request) {
  std::optional<PlacedPair> best;
  std::tuple<bool, int64_t> best_cost;
  uint32_t tokens_max = 0;
  bool full = false;
  for (int i = 0; i < static_cast<int>(request.decode.size()); ++i) {
    const WorkerView& decode = request.decode[i];
    if (!decode.usable) continue;
    const std::optional<int> prefill = PrefillFor(decode.state->kv_format(), request.prefill);
    if (!prefill.has_value()) continue;
    tokens_max = std::max(tokens_max, decode.state->context_tokens_max());
    if (decode.state->context_tokens_max() < request.tokens) continue;
    if (decode.FullFor(request.tokens)) {
      full = true;
      continue;
    }
    const std::tuple<bool, int64_t> cost = {PlacesFor(*decode.state, request.tokens) == 0,
                                            Load(decode)};
    if (best.has_value() && cost >= best_cost) continue;
    best = PlacedPair{.prefill = *prefill, .decode = i};
    best_cost = cost;
  }
  if (best.has_value()) return *best;
  if (full) return DecodeFull();
  return Explain(request, tokens_max);
}

}  // namespace tandem
