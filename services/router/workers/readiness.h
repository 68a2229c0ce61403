// SPDX-License-Identifier: Apache-2.0
// Readiness: tells its owner which workers take requests, at first and whenever that has changed.
//
// It looks again and again, on a thread of its own, from which it tells: that a worker has fallen
// silent is no event. Nothing is told after the destructor.
#pragma once

#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/router/workers/worker_table.h"
#include "services/runtime/base/thread.h"

namespace tandem {

class Readiness {
 public:
  // `workers` outlives it. `tell` must not wait for the owner.
  Readiness(const WorkerTable& workers, std::function<void(const WorkersUp&)> tell);
  ~Readiness();
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);

  const WorkerTable& workers_;
  const std::function<void(const WorkersUp&)> tell_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Thread thread_;  // last: it uses all of the above
};

}  // namespace tandem
