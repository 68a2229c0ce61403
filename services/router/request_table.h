// SPDX-License-Identifier: Apache-2.0
// RequestTable: the running requests by id: admission, duplicates, cancel by id, drain.
// Thread-safe.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace tandem {

// How a cancel reaches a request whose end may come at the same time: `pin`, called under the
// table's lock, keeps the request's object alive until `cancel`, called without it exactly once
// afterwards, has run.
struct RequestHooks {
  std::function<void()> pin;
  std::function<void()> cancel;
};

class RequestTable {
 public:
  explicit RequestTable(size_t requests_max) : requests_max_(requests_max) {}

  // UNAVAILABLE DRAINING, RESOURCE_EXHAUSTED QUEUE_FULL or ALREADY_EXISTS DUPLICATE_REQUEST.
  absl::Status Add(const std::string& id, RequestHooks hooks) ABSL_LOCKS_EXCLUDED(mutex_);
  // Once for every successful Add; no pin comes afterwards.
  void Remove(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether such a request was running.
  bool Cancel(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);

  // Refuses what comes from now on, and waits for what runs. False: something still ran after
  // `timeout`.
  bool Drain(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);

  size_t size() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  bool Empty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_.empty(); }

  const size_t requests_max_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, RequestHooks> running_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem
