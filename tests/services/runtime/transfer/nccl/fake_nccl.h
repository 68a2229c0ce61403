// SPDX-License-Identifier: Apache-2.0
// FakeNccl: communicators within one process, in host memory: what is sent has arrived when both
// ranks are polled. It can be told to be as bad as a network is. Thread-safe.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/runtime/transfer/nccl/nccl.h"

namespace tandem {

class FakeNccl final : public Nccl {
 public:
  // From now on: no id is to be had; a rank that joins is refused; messages stay where they are;
  // their first byte is another one on arrival.
  std::atomic<bool> no_id = false;
  std::atomic<bool> refuses = false;
  std::atomic<bool> stuck = false;
  std::atomic<bool> corrupts = false;
  // Aborting takes until this is over.
  std::atomic<bool> abort_waits = false;

  int64_t messages() const { return messages_; }
  // Communicators that were joined and not aborted.
  int alive() ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<std::string> NewId() override;
  void GroupStart() override {}
  absl::Status GroupEnd() override { return absl::OkStatus(); }
  absl::Status Join(const JoinArgs& args, Comm* comm) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Send(Comm comm, const Message& message) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Receive(Comm comm, const Message& message) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<bool> Poll(Comm comm) override ABSL_LOCKS_EXCLUDED(mutex_);
  void Abort(Comm comm) override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct World;
  struct Rank {
    World* world = nullptr;
    int rank = 0;
    bool aborted = false;
    std::deque<Message> sends, receives;
  };
  struct World {
    int ranks = 0;
    std::map<int, Rank*> joined;
  };
  void Move(World& world) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  std::map<std::string, World> worlds_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Rank>> all_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int> ids_ = 0;
  std::atomic<int64_t> messages_ = 0;
};

}  // namespace tandem
