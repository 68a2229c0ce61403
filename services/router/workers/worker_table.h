// SPDX-License-Identifier: Apache-2.0
// WorkerTable: the configured workers, watched, and requests assigned to them. Thread-safe.
// Outlives its assignments.
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
  Assignment(WorkerLink& prefill, WorkerLink& decode, uint32_t tokens);
  ~Assignment();
  Assignment(const Assignment&) = delete;
  Assignment& operator=(const Assignment&) = delete;

  WorkerLink& prefill() { return prefill_; }
  WorkerLink& decode() { return decode_; }

  // What the decode worker said to Reserve: memory is held there from now on, or there is none.
  void Granted() { granted_ = true; }
  void Refused() { decode_.Refused(tokens_, since_); }

 private:
  WorkerLink& prefill_;
  WorkerLink& decode_;
  const uint32_t tokens_;
  const uint64_t since_;
  bool granted_ = false;
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

  // Errors as Place() in placement.h.
  absl::StatusOr<std::unique_ptr<Assignment>> Assign(uint32_t tokens);
  // Whether Assign of at least so many tokens can only say that no worker has room. Cheap: for what
  // is known of a request before its prompt is looked at.
  bool Full(uint32_t tokens) const;

  // The most that a decode worker which is up can hold for one sequence; 0 = none is up.
  uint32_t ContextTokensMax() const;
  WorkersUp Up() const;

 private:
  // Warns once of every pair that cannot work together.
  void ReportMismatches() ABSL_LOCKS_EXCLUDED(mutex_);

  std::vector<std::unique_ptr<WorkerLink>> prefill_;
  std::vector<std::unique_ptr<WorkerLink>> decode_;
  absl::Mutex mutex_;
  std::set<std::string> reported_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tandem
