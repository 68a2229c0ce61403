// SPDX-License-Identifier: Apache-2.0
// StreamWriter: the server side of one server-streaming call: a bounded queue, one write in flight,
// one Finish.
//
// Ownership: made with new by the service method that returns it; deletes itself after gRPC's
// OnDone. Whoever holds a pointer to it (its owner: a loop or a session) may use it until it has
// called Close, and must call Close exactly once, also after OnCancelled: nothing else ends the
// call. Thread-safe; no lock is held while gRPC is called.
//
// A slow reader: messages that wait are merged by Coalesce where it can; when their weight passes
// the bound, Write says no and takes nothing: the owner then closes with SLOW_READER or, for
// states, does not care.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/support/server_callback.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/rpc/status.h"

namespace tandem {

template <typename Message>
class StreamWriter : public grpc::ServerWriteReactor<Message> {
 public:
  // Sum of Weight over waiting messages, at most; a message in flight does not count.
  explicit StreamWriter(size_t weight_max) : weight_max_(weight_max) {}
  StreamWriter(const StreamWriter&) = delete;
  StreamWriter& operator=(const StreamWriter&) = delete;

  // False: the queue is full, the peer is gone, or Close was called. `message` is dropped.
  [[nodiscard]] bool Write(Message message) ABSL_LOCKS_EXCLUDED(mutex_) {
    Action action;
    {
      absl::MutexLock lock(&mutex_);
      if (broken_ || closing_.has_value()) return false;
      const size_t weight = Weight(message);
      if (!waiting_.empty() && waiting_weight_ + weight > weight_max_) return false;
      Enqueue(std::move(message));
      action = Next();
    }
    Act(std::move(action));
    return true;
  }

  // Ends the call with `status` once all that waits is written. The owner does not touch the object
  // afterwards.
  void Close(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    Action action;
    {
      absl::MutexLock lock(&mutex_);
      CHECK(!closing_.has_value());
      closing_ = ToGrpcStatus(status);
      action = Next();
    }
    Act(std::move(action));
  }

  // As Close, but what waits is dropped.
  void CloseNow(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      DropWaiting();
    }
    Close(status);
  }

 protected:
  ~StreamWriter() override = default;

  // Share of the bound that a message takes. Called with the lock held: no gRPC, no locks.
  virtual size_t Weight(const Message&) const { return 1; }

  // Merges `next` into `last`, which waits, and says true; or says false. Called with the lock
  // held.
  virtual bool Coalesce(Message& /*last*/, Message& /*next*/) { return false; }

  // The peer is gone or has cancelled: at most once, from a gRPC thread, possibly after Close. Only
  // sets intent: the owner stops its work and calls Close if it has not.
  virtual void OnCancelled() = 0;

  // For so long messages have waited for the peer to take an earlier one: told in parts, as they
  // are moved on, added to or dropped. Called with the lock held.
  virtual void OnWaited(absl::Duration /*waited*/) {}

  // What Close was given; for OnFinished.
  absl::StatusCode code() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return static_cast<absl::StatusCode>(closing_->error_code());
  }

  // gRPC is done with the object. Deletes it.
  virtual void OnFinished() { delete this; }

 private:
  // What to ask of gRPC once the lock is released.
  struct Nothing {};
  struct StartNextWrite {};
  using Action = std::variant<Nothing, StartNextWrite, grpc::Status>;

  void OnWriteDone(bool ok) final {
    Action action;
    {
      absl::MutexLock lock(&mutex_);
      in_flight_ = false;
      if (!ok) Break();
      action = Next();
    }
    Act(std::move(action));
  }
  void OnCancel() final {
    {
      // Nothing may be in flight that could fail: say it here.
      absl::MutexLock lock(&mutex_);
      Break();
    }
    OnCancelled();
    Order();
  }
  void OnDone() final {
    Order();
    OnFinished();
  }

  // gRPC calls OnDone last, by means that TSan cannot see: what came before is ordered before the
  // destructor here.
  void Order() ABSL_LOCKS_EXCLUDED(mutex_) { absl::MutexLock lock(&mutex_); }

  void Break() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    broken_ = true;
    DropWaiting();
  }

  void DropWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    waiting_.clear();
    waiting_weight_ = 0;
    TellWaited();
  }

  // After every change of what waits. Reads the clock only where something did or does.
  void TellWaited() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (waiting_.empty() && !waiting_since_.has_value()) return;
    const absl::Time now = Clock::Real().Now();
    if (waiting_since_.has_value()) OnWaited(now - *waiting_since_);
    waiting_since_ = waiting_.empty() ? std::nullopt : std::make_optional(now);
  }

  void Enqueue(Message message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!waiting_.empty()) {
      const size_t before = Weight(waiting_.back());
      const bool merged = Coalesce(waiting_.back(), message);
      waiting_weight_ += Weight(waiting_.back()) - before;
      if (merged) return;
    }
    waiting_weight_ += Weight(message);
    waiting_.push_back(std::move(message));
  }

  // The decision falls together with the change that causes it, under one lock: two threads can
  // never both decide, and a thread that decides nothing does not touch the object again.
  Action Next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (in_flight_ || finished_) {
      TellWaited();
      return Nothing{};
    }
    if (!waiting_.empty()) {
      waiting_weight_ -= Weight(waiting_.front());
      current_ = std::move(waiting_.front());
      waiting_.pop_front();
      in_flight_ = true;
      TellWaited();
      return StartNextWrite{};
    }
    if (!closing_.has_value()) return Nothing{};
    finished_ = true;
    return *closing_;
  }

  // After Finish the object may be gone.
  void Act(Action action) {
    if (std::holds_alternative<StartNextWrite>(action)) this->StartWrite(&current_);
    if (auto* status = std::get_if<grpc::Status>(&action)) this->Finish(std::move(*status));
  }

  const size_t weight_max_;
  // Touched by gRPC while in_flight_, else guarded.
  Message current_;
  mutable absl::Mutex mutex_;
  std::deque<Message> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_weight_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<absl::Time> waiting_since_ ABSL_GUARDED_BY(mutex_);
  bool in_flight_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> closing_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tandem
