// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/watch_service.h"

#include <utility>

#include "services/runtime/rpc/status.h"
#include "services/runtime/rpc/stream_writer.h"

namespace tandem {

class WatchService::Watcher final : public StreamWriter<v1::WatchResponse> {
 public:
  explicit Watcher(WatchService& service) : StreamWriter(/*weight_max=*/1), service_(service) {}

 private:
  // A state replaces the one before it: nothing piles up.
  size_t Weight(const v1::WatchResponse& /*message*/) const override { return 0; }
  bool Coalesce(v1::WatchResponse& last, v1::WatchResponse& next) override {
    last.Swap(&next);
    return true;
  }
  void OnCancelled() override { service_.Forget(this); }

  WatchService& service_;
};

grpc::ServerWriteReactor<v1::WatchResponse>* WatchService::Watch(
    grpc::CallbackServerContext* /*context*/, const v1::WatchRequest* /*request*/) {
  auto* watcher = new Watcher(*this);
  bool refused = false;
  {
    absl::MutexLock lock(&mutex_);
    refused = closed_;
    if (!refused) {
      watchers_.insert(watcher);
      (void)watcher->Write(state_);
    }
  }
  if (refused) watcher->Close(Draining({.message = "the worker is shutting down"}));
  return watcher;
}

void WatchService::Publish(const v1::WatchResponse& state) {
  absl::MutexLock lock(&mutex_);
  state_ = state;
  // A watcher that is gone says no; OnCancelled takes it out.
  for (Watcher* watcher : watchers_) (void)watcher->Write(state_);
}

v1::WatchResponse WatchService::state() const {
  absl::MutexLock lock(&mutex_);
  return state_;
}

void WatchService::Forget(Watcher* watcher) {
  {
    absl::MutexLock lock(&mutex_);
    if (watchers_.erase(watcher) == 0) return;
  }
  watcher->Close(absl::CancelledError());
}

void WatchService::CloseAll() {
  std::set<Watcher*> watchers;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    watchers.swap(watchers_);
  }
  for (Watcher* watcher : watchers) {
    watcher->Close(Draining({.message = "the worker is shutting down"}));
  }
}

}  // namespace tandem
