// SPDX-License-Identifier: Apache-2.0
// Nccl: the few calls of NCCL that a hand-off needs, on communicators that never block. One of its
// kinds is NCCL; tests have another one.
//
// A call begins something, and Poll says when it is done: a communicator is of use again only then.
// Calls for several communicators stand between GroupStart and GroupEnd. Thread-safe, but for each
// communicator, which belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tandem {

class Nccl {
 public:
  // One rank's handle.
  using Comm = void*;
  static constexpr int kIdBytes = 128;

  virtual ~Nccl() = default;

  // Null where there is no NCCL, as `why` then says: not built with it, or no libnccl.so.2 that can
  // do it. Lives for ever.
  static Nccl* Find(std::string* why);

  // Names a communicator to all of its ranks. This process is where they meet.
  virtual absl::StatusOr<std::string> NewId() = 0;

  virtual void GroupStart() = 0;
  virtual absl::Status GroupEnd() = 0;

  struct JoinArgs {
    std::string id;
    int ranks = 0;
    int rank = 0;
    void* queue = nullptr;  // of the GPU that the rank is on
  };
  virtual absl::Status Join(const JoinArgs& args, Comm* comm) = 0;

  // Within a group. In the queue's order.
  struct Message {
    void* memory = nullptr;
    int64_t bytes = 0;
    int peer = 0;
    void* queue = nullptr;
  };
  virtual absl::Status Send(Comm comm, const Message& message) = 0;
  virtual absl::Status Receive(Comm comm, const Message& message) = 0;

  // Whether what was begun is done: queued, that is, if it was a message. An error: the
  // communicator is of no use any more.
  virtual absl::StatusOr<bool> Poll(Comm comm) = 0;

  // Ends what still runs, on the GPU as well, and then the handle, for which it may wait until the
  // ranks of other processes have ended theirs.
  virtual void Abort(Comm comm) = 0;
};

}  // namespace tandem
