// SPDX-License-Identifier: Apache-2.0
// Links: the prefill workers that may write into this pool, as the decode loop knows them. Not
// thread-safe.
//
// A link whose stream is gone stays as long as somebody may still write for it: its process, which
// may map the pool, until the kernel says that the mapping is gone, and on a GPU some time beyond;
// or its communicator, until that has ended. Until then its leases are in quarantine.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "services/decode/decode_command.h"
#include "services/runtime/kv/shared_memory.h"
#include "services/runtime/transfer/nccl/nccl_end.h"

namespace tandem {

class Links {
 public:
  // `shared` is the pool's memory; null if it is private. `on_gpu`: what a killed process had
  // queued there may run on while the driver takes it apart, when its locks may be gone already.
  Links(const SharedMemory* shared, bool on_gpu) : shared_(shared), on_gpu_(on_gpu) {}
  void Open(const LinkOpenedCommand& command);
  void Joined(const LinkJoinedCommand& command);
  void Close(LinkClosedCommand command);

  // Whether what it writes to is to be kept until it says that it has ended.
  bool InPlace(LinkId link) const;
  // Links of a kind that stand.
  int Count(v1::KvChannelKind kind) const;

  // Dropped if the link is closed.
  void Send(LinkId link, v1::LinkResponse response) const;
  void SendRevocations(const std::vector<Revocation>& revocations) const;

  // Kind NCCL: the next rows of the link are received into the lease's memory; `here` is called
  // from any thread when all of them are there. An error ends the link instead, and with it the
  // lease. False: they would not lie in that memory, or the link has no such kind.
  bool Receive(const LinkPartCommand& command, const Grant& memory, const KvStorage& storage,
               std::function<void()> here);
  // One such order is done. What had to wait for the last of the lease, if it was that.
  std::optional<LinkEndCommand> Received(const LinkPartDoneCommand& command);
  // Whether the end of the lease has to wait for rows that are still to come: then it is kept.
  bool Defer(const LinkEndCommand& command);

  // Closed links for which nobody writes any more: they are forgotten, and their leases can be
  // freed.
  std::vector<LinkId> TakeDead(absl::Time now);
  // The end of all links: waits for communicators that still end.
  void Stop();

 private:
  struct Receiving {
    int orders = 0;
    std::optional<LinkEndCommand> end;
  };
  struct Link {
    v1::KvChannelKind kind = v1::KV_CHANNEL_KIND_GRPC;
    NcclEnd* nccl = nullptr;
    std::map<uint64_t, Receiving> receiving;  // by lease id
    std::function<void(v1::LinkResponse)> send;
  };
  struct Closed {
    LinkId link = 0;
    NcclEnd* nccl = nullptr;
    std::function<void()> dispose;
    bool mapped = false;                           // its process wrote into the pool itself
    absl::Time unmapped = absl::InfiniteFuture();  // since when
  };
  bool MayWrite(Closed& closed, absl::Time now) const;

  const SharedMemory* const shared_;
  const bool on_gpu_;
  std::map<LinkId, Link> open_;
  std::vector<Closed> closed_;  // not yet known to be dead
};

}  // namespace tandem
