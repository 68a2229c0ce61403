// SPDX-License-Identifier: Apache-2.0
// WorkerLink: one worker, listed or registered: its channel, its stubs, and what it last said over
// WorkerService/Watch, which is opened again whenever it ends. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/alarm.h"
#include "services/router/workers/placement.h"
#include "services/router/workers/token_feed.h"
#include "services/runtime/rpc/channel.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

class WorkerLink {
 public:
  struct Options {
    ChannelOptions channel;
    v1::WorkerRole role = v1::WORKER_ROLE_UNSPECIFIED;
    // After every state that differs in incarnation from the one before; on a gRPC thread, without
    // locks.
    std::function<void()> on_new_worker;
  };
  explicit WorkerLink(Options options);
  ~WorkerLink();
  WorkerLink(const WorkerLink&) = delete;
  WorkerLink& operator=(const WorkerLink&) = delete;

  void Start();
  // Ends the watch and waits until nothing calls back any more and no request is assigned. The
  // destructor does it too.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);
  // The same in two steps, for whom must not wait: the worker is usable no more; true once nothing
  // is left to wait for.
  void BeginStop() ABSL_LOCKS_EXCLUDED(mutex_);
  bool Stopped() const ABSL_LOCKS_EXCLUDED(mutex_);

  WorkerView View() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool FullFor(uint32_t tokens) const ABSL_LOCKS_EXCLUDED(mutex_);

  // A request of so many tokens is sent there. Returns how often memory has come free by now.
  uint64_t Assign(uint32_t tokens) ABSL_LOCKS_EXCLUDED(mutex_);
  // It has ended and its calls are gone; `freed`: so is memory that it held.
  void Unassign(bool freed) ABSL_LOCKS_EXCLUDED(mutex_);
  // There was no room for so many tokens. `since`: what Assign returned.
  void Refused(uint32_t tokens, uint64_t since) ABSL_LOCKS_EXCLUDED(mutex_);

  // A prompt of so many tokens is sent there; it is read, or will not be.
  void PromptSent(uint32_t tokens) ABSL_LOCKS_EXCLUDED(mutex_);
  void PromptOver(uint32_t tokens) ABSL_LOCKS_EXCLUDED(mutex_);

  // Usable no more, until its next state says otherwise.
  void SaidDraining() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string& endpoint() const { return options_.channel.endpoint; }
  v1::PrefillService::Stub& prefill() { return *prefill_; }
  v1::DecodeService::Stub& decode() { return *decode_; }
  // For the next answer of a decode worker.
  TokenFeed& tokens() { return *tokens_[next_feed_++ % tokens_.size()]; }

 private:
  class Watch;

  void StartWatch() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnState(const v1::WatchResponse& state) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnWatchDone(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  bool Full(uint32_t tokens) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return refused_tokens_ != 0 && tokens >= refused_tokens_ && places_ <= 0;
  }
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return idle_ && assigned_ == 0; }

  const Options options_;
  const Channel channel_;
  const std::unique_ptr<v1::WorkerService::Stub> worker_;
  const std::unique_ptr<v1::PrefillService::Stub> prefill_;
  const std::unique_ptr<v1::DecodeService::Stub> decode_;
  // Each is dealt out by one thread at a time.
  std::vector<std::unique_ptr<TokenFeed>> tokens_;
  std::atomic<size_t> next_feed_ = 0;
  mutable absl::Mutex mutex_;
  std::unique_ptr<Watch> watch_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> pause_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool idle_ ABSL_GUARDED_BY(mutex_) = true;  // neither watch nor pause will call back
  bool connected_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time heard_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  int assigned_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t unread_ ABSL_GUARDED_BY(mutex_) = 0;  // tokens of prompts that are sent and not over
  // Once it has refused something, no more requests of that size or above go there than have left
  // it, or than it says it has room for: under overload nearly every one would come back.
  uint32_t refused_tokens_ ABSL_GUARDED_BY(mutex_) = 0;  // the least; 0 = none yet
  int64_t places_ ABSL_GUARDED_BY(mutex_) = 0;           // for them
  uint64_t freed_ ABSL_GUARDED_BY(mutex_) = 0;           // times
  WorkerState state_ ABSL_GUARDED_BY(mutex_) = MakeState({});
};

}  // namespace tandem
