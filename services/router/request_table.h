// SPDX-License-Identifier: Apache-2.0
// RequestTable: the running requests by name: admission, duplicates, cancel by id, drain.
// Thread-safe.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace tandem {

// Ids are the clients' choice, so each API key has its own: nobody ends another's request, or hears
// that it runs, by its id.
struct RequestName {
  std::string key;  // name of the API key; empty where none is wanted
  std::string id;
  friend bool operator==(const RequestName&, const RequestName&) = default;
  template <typename Hash>
  friend Hash AbslHashValue(Hash hash, const RequestName& name) {
    return Hash::combine(std::move(hash), name.key, name.id);
  }
};

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
  absl::Status Add(const RequestName& name, RequestHooks hooks) ABSL_LOCKS_EXCLUDED(mutex_);
  // Once for every successful Add; no pin comes afterwards.
  void Remove(const RequestName& name) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether such a request was running.
  bool Cancel(const RequestName& name) ABSL_LOCKS_EXCLUDED(mutex_);

  // Refuses what comes from now on, and waits for what runs. False: something still ran after
  // `timeout`.
  bool Drain(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);

  size_t size() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  bool Empty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_.empty(); }

  const size_t requests_max_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<RequestName, RequestHooks> running_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem
