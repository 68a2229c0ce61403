// SPDX-License-Identifier: Apache-2.0
#include "services/router/workers/worker_table.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

std::vector<WorkerView> Views(const std::vector<std::unique_ptr<WorkerLink>>& links) {
  std::vector<WorkerView> views;
  for (const auto& link : links) views.push_back(link->View());
  return views;
}

}  // namespace

Assignment::Assignment(WorkerLink& prefill, WorkerLink& decode, uint32_t tokens)
    : prefill_(prefill), decode_(decode), tokens_(tokens), since_(decode.Assign(tokens)) {
  (void)prefill_.Assign(tokens);
}

Assignment::~Assignment() {
  prefill_.Unassign(false);
  decode_.Unassign(granted_);
}

WorkerTable::WorkerTable(const Options& options) {
  const auto make = [&, this](const std::string& endpoint, v1::WorkerRole role) {
    return std::make_unique<WorkerLink>(
        WorkerLink::Options{.channel = {.endpoint = endpoint,
                                        .credentials = options.credentials,
                                        .server_name = options.server_name},
                            .role = role,
                            .on_new_worker = [this] { ReportMismatches(); }});
  };
  for (const auto& endpoint : options.prefill) {
    prefill_.push_back(make(endpoint, v1::WORKER_ROLE_PREFILL));
  }
  for (const auto& endpoint : options.decode) {
    decode_.push_back(make(endpoint, v1::WORKER_ROLE_DECODE));
  }
  // The lists are complete before the first state arrives.
  for (const auto& link : prefill_) link->Start();
  for (const auto& link : decode_) link->Start();
}

// A link's callback looks at all links: none goes before every one is silent.
WorkerTable::~WorkerTable() {
  for (const auto& link : prefill_) link->Stop();
  for (const auto& link : decode_) link->Stop();
}

absl::StatusOr<std::unique_ptr<Assignment>> WorkerTable::Assign(uint32_t tokens) {
  const std::vector<WorkerView> prefill = Views(prefill_);
  const std::vector<WorkerView> decode = Views(decode_);
  ASSIGN_OR_RETURN(const PlacedPair placed,
                   Place({.tokens = tokens, .prefill = prefill, .decode = decode}));
  return std::make_unique<Assignment>(*prefill_[placed.prefill], *decode_[placed.decode], tokens);
}

bool WorkerTable::Full(uint32_t tokens) const {
  return absl::c_all_of(decode_, [&](const auto& link) { return link->FullFor(tokens); });
}

uint32_t WorkerTable::ContextTokensMax() const {
  uint32_t most = 0;
  for (const WorkerView& worker : Views(decode_)) {
    if (worker.usable) most = std::max(most, worker.state.context_tokens_max());
  }
  return most;
}

WorkersUp WorkerTable::Up() const {
  const std::vector<WorkerView> prefill = Views(prefill_);
  const std::vector<WorkerView> decode = Views(decode_);
  const auto usable = [](const WorkerView& worker) { return worker.usable; };
  return {.prefill = static_cast<int>(absl::c_count_if(prefill, usable)),
          .decode = static_cast<int>(absl::c_count_if(decode, usable)),
          // Any pair can hold nothing.
          .pair = Place({.tokens = 0, .prefill = prefill, .decode = decode}).ok()};
}

void WorkerTable::ReportMismatches() {
  const std::vector<WorkerView> decode = Views(decode_);
  for (const WorkerView& p : Views(prefill_)) {
    if (!p.usable) continue;
    for (const WorkerView& d : decode) {
      if (!d.usable || SameFormat(p.state.kv_format(), d.state.kv_format())) continue;
      const std::string pair = absl::StrCat(p.endpoint, " ", p.state.kv_format().layout_hash(), " ",
                                            d.endpoint, " ", d.state.kv_format().layout_hash());
      {
        absl::MutexLock lock(&mutex_);
        if (!reported_.insert(pair).second) continue;
      }
      LogWarning("workers_do_not_match", {{"prefill", p.endpoint},
                                          {"prefill_format", p.state.kv_format().description()},
                                          {"decode", d.endpoint},
                                          {"decode_format", d.state.kv_format().description()}});
    }
  }
}

}  // namespace tandem
