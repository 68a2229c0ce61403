// SPDX-License-Identifier: Apache-2.0
#include "services/router/workers/worker_table.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

std::vector<WorkerView> Views(const std::vector<std::unique_ptr<WorkerLink>>& links) {
  std::vector<WorkerView> views;
  for (const auto& link : links) views.push_back(link->View());
  return views;
}

}  // namespace

Assignment::Assignment(WorkerLink& prefill, WorkerLink& decode, const RequestTokens& tokens)
    : prefill_(prefill), decode_(decode), tokens_(tokens), since_(decode.Assign(tokens.all)) {
  (void)prefill_.Assign(tokens.all);
  prefill_.PromptSent(tokens.prompt);
}

void Assignment::PromptRead() {
  if (!std::exchange(read_, true)) prefill_.PromptOver(tokens_.prompt);
}

Assignment::~Assignment() {
  PromptRead();  // or it never will be
  prefill_.Unassign(false);
  decode_.Unassign(granted_);
}

WorkerTable::WorkerTable(const Options& options) : options_(options) {
  absl::MutexLock lock(&mutex_);
  for (const auto& endpoint : options.prefill) {
    prefill_.push_back(NewLink(v1::WORKER_ROLE_PREFILL, endpoint));
  }
  for (const auto& endpoint : options.decode) {
    decode_.push_back(NewLink(v1::WORKER_ROLE_DECODE, endpoint));
  }
  // The lists are complete before the first state arrives.
  for (const auto& link : prefill_) link->Start();
  for (const auto& link : decode_) link->Start();
}

std::unique_ptr<WorkerLink> WorkerTable::NewLink(v1::WorkerRole role, const std::string& endpoint) {
  return std::make_unique<WorkerLink>(
      WorkerLink::Options{.channel = {.endpoint = endpoint,
                                      .credentials = options_.credentials,
                                      .server_name = options_.server_name},
                          .role = role,
                          .on_new_worker = [this] { ReportMismatches(); }});
}

// A link's callback looks at all links: none goes before every one is silent.
WorkerTable::~WorkerTable() {
  Links all;
  {
    absl::MutexLock lock(&mutex_);
    for (Links* links : {&prefill_, &decode_, &dropped_}) {
      absl::c_move(*links, std::back_inserter(all));
      links->clear();
    }
  }
  for (const auto& link : all) link->BeginStop();
  for (const auto& link : all) link->Stop();
}

bool WorkerTable::Add(v1::WorkerRole role, const std::string& endpoint) {
  absl::MutexLock lock(&mutex_);
  Links& links = Of(role);
  if (absl::c_any_of(links, [&](const auto& link) { return link->endpoint() == endpoint; })) {
    return false;
  }
  links.push_back(NewLink(role, endpoint));
  links.back()->Start();
  return true;
}

void WorkerTable::Drop(v1::WorkerRole role, const std::string& endpoint) {
  absl::MutexLock lock(&mutex_);
  Links& links = Of(role);
  const auto found =
      absl::c_find_if(links, [&](const auto& link) { return link->endpoint() == endpoint; });
  if (found == links.end()) return;
  (*found)->BeginStop();
  dropped_.push_back(std::move(*found));
  links.erase(found);
}

void WorkerTable::Sweep() {
  Links ended;
  absl::MutexLock lock(&mutex_);
  const auto first =
      std::partition(dropped_.begin(), dropped_.end(), [](const auto& l) { return !l->Stopped(); });
  std::move(first, dropped_.end(), std::back_inserter(ended));
  dropped_.erase(first, dropped_.end());
  // The lock goes before them.
}

absl::Status WorkerTable::FindPartner(const WorkerView& worker) const {
  absl::MutexLock lock(&mutex_);
  const bool reads = worker.state->role() == v1::WORKER_ROLE_PREFILL;
  absl::Status out;
  for (const WorkerView& other : Views(reads ? decode_ : prefill_)) {
    if (!other.usable) continue;
    if (SameFormat(other.state->kv_format(), worker.state->kv_format())) return absl::OkStatus();
    out = LayoutMismatch(absl::StrCat(worker.endpoint, " has ",
                                      worker.state->kv_format().description(), ", ", other.endpoint,
                                      " has ", other.state->kv_format().description()));
  }
  return out;
}

absl::StatusOr<std::unique_ptr<Assignment>> WorkerTable::Assign(const RequestTokens& tokens) {
  // Held to the end: a link that is chosen is not dropped before it is counted.
  absl::MutexLock lock(&mutex_);
  const std::vector<WorkerView> prefill = Views(prefill_);
  const std::vector<WorkerView> decode = Views(decode_);
  ASSIGN_OR_RETURN(const PlacedPair placed,
                   Place({.tokens = tokens.all, .prefill = prefill, .decode = decode}));
  return std::make_unique<Assignment>(*prefill_[placed.prefill], *decode_[placed.decode], tokens);
}

bool WorkerTable::Full(uint32_t tokens) const {
  absl::MutexLock lock(&mutex_);
  const auto full = [&](const auto& link) { return link->FullFor(tokens); };
  return !decode_.empty() && absl::c_all_of(decode_, full);
}

uint32_t WorkerTable::ContextTokensMax() const {
  absl::MutexLock lock(&mutex_);
  uint32_t most = 0;
  for (const WorkerView& worker : Views(decode_)) {
    if (worker.usable) most = std::max(most, worker.state->context_tokens_max());
  }
  return most;
}

WorkersUp WorkerTable::Up() const {
  std::vector<WorkerView> prefill, decode;
  {
    absl::MutexLock lock(&mutex_);
    prefill = Views(prefill_);
    decode = Views(decode_);
  }
  const auto usable = [](const WorkerView& worker) { return worker.usable; };
  return {.prefill = static_cast<int>(absl::c_count_if(prefill, usable)),
          .decode = static_cast<int>(absl::c_count_if(decode, usable)),
          // Any pair can hold nothing.
          .pair = Place({.tokens = 0, .prefill = prefill, .decode = decode}).ok()};
}

void WorkerTable::ReportMismatches() {
  absl::MutexLock lock(&mutex_);
  const std::vector<WorkerView> decode = Views(decode_);
  for (const WorkerView& p : Views(prefill_)) {
    if (!p.usable) continue;
    for (const WorkerView& d : decode) {
      if (!d.usable || SameFormat(p.state->kv_format(), d.state->kv_format())) continue;
      const std::string pair =
          absl::StrCat(p.endpoint, " ", p.state->kv_format().layout_hash(), " ", d.endpoint, " ",
                       d.state->kv_format().layout_hash());
      if (!reported_.insert(pair).second) continue;
      LogWarning("workers_do_not_match", {{"prefill", p.endpoint},
                                          {"prefill_format", p.state->kv_format().description()},
                                          {"decode", d.endpoint},
                                          {"decode_format", d.state->kv_format().description()}});
    }
  }
}

}  // namespace tandem
