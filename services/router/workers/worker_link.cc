// SPDX-License-Identifier: Apache-2.0
#include "services/router/workers/worker_link.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/log.h"

namespace tandem {
namespace {

// A worker says something once a second; one that stays silent hangs.
constexpr absl::Duration kSilenceMax = absl::Seconds(5);
// Between the end of one watch and the next; that waits for the channel to connect.
constexpr absl::Duration kPause = absl::Milliseconds(200);
// Streams of many answers: the tokens of a step reach clients by so many threads.
constexpr int kFeeds = 4;

}  // namespace

// One Watch call. Owned by the link, which lets go of it in OnWatchDone.
class WorkerLink::Watch final : public grpc::ClientReadReactor<v1::WatchResponse> {
 public:
  explicit Watch(WorkerLink* link) : link_(link) {}

  void Start() {
    context_.set_wait_for_ready(true);
    link_->worker_->async()->Watch(&context_, &request_, this);
    StartRead(&state_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    link_->OnState(state_);
    StartRead(&state_);
  }
  void OnDone(const grpc::Status& status) override { link_->OnWatchDone(status); }

 private:
  WorkerLink* const link_;
  grpc::ClientContext context_;
  const v1::WatchRequest request_;
  v1::WatchResponse state_;
};

WorkerLink::WorkerLink(Options options)
    : options_(std::move(options)),
      channel_(options_.channel),
      worker_(channel_.NewStub<v1::WorkerService>()),
      prefill_(channel_.NewStub<v1::PrefillService>()),
      decode_(channel_.NewStub<v1::DecodeService>()) {
  for (int i = 0; i < kFeeds; ++i) tokens_.push_back(std::make_unique<TokenFeed>(channel_));
}

WorkerLink::~WorkerLink() {
  Stop();
}

void WorkerLink::Stop() {
  BeginStop();
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &WorkerLink::Idle));
  }
  for (const auto& feed : tokens_) feed->Stop();
}

void WorkerLink::BeginStop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  if (watch_ != nullptr) watch_->Cancel();
  if (pause_ != nullptr) pause_->Cancel();
}

bool WorkerLink::Stopped() const {
  absl::MutexLock lock(&mutex_);
  return stopping_ && Idle();
}

void WorkerLink::Start() {
  {
    absl::MutexLock lock(&mutex_);
    idle_ = false;
  }
  StartWatch();
}

WorkerView WorkerLink::View() const {
  absl::MutexLock lock(&mutex_);
  const bool fresh = Clock::Real().Now() - heard_ < kSilenceMax;
  return {.endpoint = endpoint(),
          .usable = !stopping_ && connected_ && fresh && !state_->draining() &&
                    state_->role() == options_.role,
          .assigned = assigned_,
          .unread = unread_,
          .state = state_,
          .refused_tokens = places_ <= 0 ? refused_tokens_ : 0};
}

bool WorkerLink::FullFor(uint32_t tokens) const {
  absl::MutexLock lock(&mutex_);
  return Full(tokens);
}

uint64_t WorkerLink::Assign(uint32_t tokens) {
  absl::MutexLock lock(&mutex_);
  ++assigned_;
  if (refused_tokens_ != 0 && tokens >= refused_tokens_) --places_;
  return freed_;
}

void WorkerLink::Unassign(bool freed) {
  absl::MutexLock lock(&mutex_);
  --assigned_;
  if (!freed) return;
  ++freed_;
  ++places_;
}

void WorkerLink::Refused(uint32_t tokens, uint64_t since) {
  absl::MutexLock lock(&mutex_);
  // What has come free meanwhile may be room that the worker did not know of.
  if (refused_tokens_ == 0) places_ = static_cast<int64_t>(freed_ - since);
  refused_tokens_ = refused_tokens_ == 0 ? tokens : std::min(refused_tokens_, tokens);
}

void WorkerLink::PromptSent(uint32_t tokens) {
  absl::MutexLock lock(&mutex_);
  unread_ += tokens;
}

void WorkerLink::PromptOver(uint32_t tokens) {
  absl::MutexLock lock(&mutex_);
  unread_ -= tokens;
}

void WorkerLink::SaidDraining() {
  absl::MutexLock lock(&mutex_);
  v1::WatchResponse state = *state_;
  state.set_draining(true);
  state_ = MakeState(std::move(state));
}

void WorkerLink::StartWatch() {
  Watch* watch = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) {
      idle_ = true;
      return;
    }
    watch_ = std::make_unique<Watch>(this);
    watch = watch_.get();
  }
  // Cancelled before it starts, a call ends at once: the destructor may come in between.
  watch->Start();
}

void WorkerLink::OnState(const v1::WatchResponse& state) {
  WorkerState said = MakeState(state);
  bool is_new = false;
  {
    absl::MutexLock lock(&mutex_);
    is_new = !connected_ || state_->incarnation() != state.incarnation();
    connected_ = true;
    heard_ = Clock::Real().Now();
    state_ = std::move(said);
    if (is_new) refused_tokens_ = 0;
    // Others' requests come and go as well.
    if (refused_tokens_ != 0) places_ = PlacesFor(*state_, refused_tokens_);
  }
  if (!is_new) return;
  LogInfo("worker_up", {{"endpoint", endpoint()},
                        {"role", v1::WorkerRole_Name(state.role())},
                        {"incarnation", absl::Hex(state.incarnation(), absl::kZeroPad16)}});
  if (state.role() != options_.role) {
    LogError("worker_role", {{"endpoint", endpoint()},
                             {"configured", v1::WorkerRole_Name(options_.role)},
                             {"found", v1::WorkerRole_Name(state.role())}});
  }
  if (state.role() == v1::WORKER_ROLE_DECODE) {
    for (const auto& feed : tokens_) feed->Open();
  }
  options_.on_new_worker();
}

void WorkerLink::OnWatchDone(const grpc::Status& status) {
  std::unique_ptr<Watch> done;
  {
    absl::MutexLock lock(&mutex_);
    done = std::move(watch_);
    if (connected_ && !stopping_) {
      LogWarning("worker_down", {{"endpoint", endpoint()}, {"status", status.error_message()}});
    }
    connected_ = false;
    refused_tokens_ = 0;
  }
  // It is the caller, and touched no more. It holds gRPC's channel, and must not be the last to do
  // so: the thread that ends with a process's last channel would be this one, which is gRPC's own.
  done.reset();
  absl::MutexLock lock(&mutex_);
  // Once idle_ is set the link may be gone.
  if (stopping_) {
    idle_ = true;
    return;
  }
  pause_ = std::make_unique<grpc::Alarm>();
  pause_->Set(absl::ToChronoTime(absl::Now() + kPause), [this](bool) { StartWatch(); });
}

}  // namespace tandem
