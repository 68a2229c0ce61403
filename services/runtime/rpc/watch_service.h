// SPDX-License-Identifier: Apache-2.0
// WatchService: WorkerService/Watch. The worker's loop publishes its state; every watcher gets the
// newest one.
//
// Thread-safe. Publish never waits for a reader: what a slow one has not read is replaced. Outlives
// the server it is registered with; CloseAll ends all streams, so that the server can shut down.
#pragma once

#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

class WatchService final : public v1::WorkerService::CallbackService {
 public:
  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(grpc::CallbackServerContext* context,
                                                     const v1::WatchRequest* request) override;

  void Publish(const v1::WatchResponse& state) ABSL_LOCKS_EXCLUDED(mutex_);
  // What was published last; without a role before the first time.
  v1::WatchResponse state() const ABSL_LOCKS_EXCLUDED(mutex_);

  void CloseAll() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Watcher;
  void Forget(Watcher* watcher) ABSL_LOCKS_EXCLUDED(mutex_);

  mutable absl::Mutex mutex_;
  v1::WatchResponse state_ ABSL_GUARDED_BY(mutex_);
  std::set<Watcher*> watchers_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem
