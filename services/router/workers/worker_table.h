// SPDX-License-Identifier: Apache-2.0
// WorkerTable: the workers that the config lists and those that have registered, watched, and
// requests assigned to them. Thread-safe. Outlives its assignments.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/router/workers/worker_link.h"

namespace tandem {

// A request's place on two workers; counted as their load while it lives.
class Assignment {
 public:
  Assignment(WorkerLink& prefill, WorkerLink& decode, const RequestTokens& tokens);
  ~Assignment();
  Assignment(const Assignment&) = delete;
  Assignment& operator=(const Assignment&) = delete;

  WorkerLink& prefill() { return prefill_; }
  WorkerLink& decode() { return decode_; }

  // What the decode worker said to Reserve: memory is held there from now on, there is none, or
  // there will be none.
  void Granted() { granted_ = true; }
  void Refused() { decode_.Refused(tokens_.all, since_); }
  void Draining() { decode_.SaidDraining(); }
  // What the prefill worker said: the prompt is read; or its call has broken off, or it drains.
  void PromptRead();
  void PrefillGone() { prefill_.SaidDraining(); }

 private:
  WorkerLink& prefill_;
  WorkerLink& decode_;
  const RequestTokens tokens_;
  const uint64_t since_;
  bool granted_ = false;
  bool read_ = false;
};

// Workers that take requests now.
struct WorkersUp {
  int prefill = 0;
  int decode = 0;
  bool pair = false;  // one of each shares a cache format: a request can be placed
  friend bool operator==(const WorkersUp&, const WorkersUp&) = default;
};

class WorkerTable {
 public:
  struct Options {
    std::vector<std::string> prefill;  // endpoints
    std::vector<std::string> decode;
    ChannelCredentials credentials = nullptr;  // null = plain text
    std::string server_name;                   // as in ChannelOptions
  };
  // Begins to watch at once.
  explicit WorkerTable(const Options& options);
  ~WorkerTable();
  WorkerTable(const WorkerTable&) = delete;
  WorkerTable& operator=(const WorkerTable&) = delete;

  // Watches one more worker from now on. False: it is watched already.
  bool Add(v1::WorkerRole role, const std::string& endpoint) ABSL_LOCKS_EXCLUDED(mutex_);
  // Of what Add took: gets no request any more; those that it has go on.
  void Drop(v1::WorkerRole role, const std::string& endpoint) ABSL_LOCKS_EXCLUDED(mutex_);
  // Frees what was dropped and has ended. Not from a thread of gRPC.
  void Sweep() ABSL_LOCKS_EXCLUDED(mutex_);

  // LAYOUT_MISMATCH, both sides named, when workers of the other role are up and none of them has
  // this one's cache format.
  absl::Status FindPartner(const WorkerView& worker) const ABSL_LOCKS_EXCLUDED(mutex_);

  // Errors as Place() in placement.h.
  absl::StatusOr<std::unique_ptr<Assignment>> Assign(const RequestTokens& tokens)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether Assign of at least so many tokens can only say that no worker has room. Cheap: for what
  // is known of a request before its prompt is looked at.
  bool Full(uint32_t tokens) const ABSL_LOCKS_EXCLUDED(mutex_);

  // The most that a decode worker which is up can hold for one sequence; 0 = none is up.
  uint32_t ContextTokensMax() const ABSL_LOCKS_EXCLUDED(mutex_);
  WorkersUp Up() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Links = std::vector<std::unique_ptr<WorkerLink>>;

  std::unique_ptr<WorkerLink> NewLink(v1::WorkerRole role, const std::string& endpoint);
  Links& Of(v1::WorkerRole role) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return role == v1::WORKER_ROLE_PREFILL ? prefill_ : decode_;
  }
  // Warns once of every pair that cannot work together.
  void ReportMismatches() ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  // Held while links are looked at, never while one is waited for.
  mutable absl::Mutex mutex_;
  Links prefill_ ABSL_GUARDED_BY(mutex_);
  Links decode_ ABSL_GUARDED_BY(mutex_);
  Links dropped_ ABSL_GUARDED_BY(mutex_);  // told to stop
  std::set<std::string> reported_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tandem
