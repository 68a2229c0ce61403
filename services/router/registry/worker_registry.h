// SPDX-License-Identifier: Apache-2.0
// WorkerRegistry: the workers that have registered, each until its beats stop. What is here is
// watched by the WorkerTable like a worker that the config lists; one that it lists already is
// counted here and otherwise left to the list.
//
// Nothing is kept over a restart: within a beat every worker that lives is here again. Thread-safe.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/router/workers/worker_table.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/metrics/router_metrics.h"
#include "tandem/v1/registry.pb.h"

namespace tandem {

class WorkerRegistry {
 public:
  struct Options {
    absl::Duration ttl;
    int workers_max = 0;
    const Clock& clock = Clock::Real();
  };
  // All outlive it.
  WorkerRegistry(const Options& options, WorkerTable& workers, RouterMetrics& metrics);

  // Errors: INVALID_FIELD; VERSION_MISMATCH and LAYOUT_MISMATCH with both sides named, of which the
  // latter keeps the worker, for a partner may come; QUEUE_FULL.
  absl::Status Beat(const v1::RegisterRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);

  // Counts beats that are overdue, drops who has been silent for `ttl`. Called often, not from a
  // thread of gRPC.
  void Tick() ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Duration ttl() const { return options_.ttl; }

 private:
  using Name = std::pair<v1::WorkerRole, std::string>;  // role, endpoint
  struct Worker {
    absl::Time heard;
    int missed = 0;       // beats since then
    bool listed = false;  // the config has it too: only the list can take it away
  };

  absl::Status Refuse(const Name& name, const v1::RegisterRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Accept(const Name& name, const v1::RegisterRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(const Name& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Count() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  WorkerTable& table_;
  RouterMetrics& metrics_;
  absl::Mutex mutex_;
  std::map<Name, Worker> workers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tandem
