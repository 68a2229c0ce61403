// SPDX-License-Identifier: Apache-2.0
// Registrar: makes a worker known to its routers and keeps it so: a beat to each, five in the time
// that the router gives, and a last one on leaving.
//
// A router that does not answer, or says no, is asked again every second: routers and workers start
// and restart in any order. Names are looked up on a thread of their own, for a name service that
// hangs must not stop the beats; one that fails leaves the last addresses. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/rpc/watch_service.h"
#include "tandem/v1/config.pb.h"
#include "tandem/v1/registry.grpc.pb.h"

namespace tandem {

class Registrar {
 public:
  // Without `registration` in the config it does nothing. `watch` outlives it, and its state is
  // what beats tell. Errors are those of the certificates.
  static absl::StatusOr<std::unique_ptr<Registrar>> Create(const v1::WorkerConfig& config,
                                                           const WatchService& watch);
  // As Leave, and waits until that is said: a second at most, and for the name service.
  ~Registrar();
  Registrar(const Registrar&) = delete;
  Registrar& operator=(const Registrar&) = delete;

  // Tells all routers that this worker takes nothing new, and beats no more. Does not wait.
  void Leave() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // One router; used by the thread of beats alone.
  class Peer;

  Registrar(const v1::RegistrationConfig& config, const WatchService& watch,
            ChannelCredentials credentials);
  void LookUp() ABSL_LOCKS_EXCLUDED(mutex_);
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  // Peers become those that the names stand for.
  void Reconcile() ABSL_LOCKS_EXCLUDED(mutex_);
  // One beat to each, together; the time to the next.
  absl::Duration Beat(bool leaving);

  const v1::RegistrationConfig config_;
  const WatchService& watch_;
  const ChannelCredentials credentials_;
  std::map<std::string, std::unique_ptr<Peer>> peers_;  // by address; of the thread of beats
  absl::Mutex mutex_;
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
  bool news_ ABSL_GUARDED_BY(mutex_) = false;  // in names_
  // Of each name of the config, what it stood for when last it was answered.
  std::map<std::string, std::vector<std::string>> names_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Thread> lookups_, beats_;  // last: they use all of the above
};

}  // namespace tandem
