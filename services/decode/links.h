// SPDX-License-Identifier: Apache-2.0
// Links: the prefill workers that may write into this pool, as the decode loop knows them. Not
// thread-safe.
//
// A link whose stream is gone stays as long as its process may still map the pool: its leases are
// in quarantine until the kernel says that the mapping is gone.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "services/decode/decode_command.h"
#include "services/runtime/kv/shared_memory.h"

namespace tandem {

class Links {
 public:
  // `shared` is the pool's memory; null if it is private.
  explicit Links(const SharedMemory* shared) : shared_(shared) {}

  void Open(const LinkOpenedCommand& command);
  void Close(LinkId link);

  // Whether its writer maps the pool.
  bool InPlace(LinkId link) const;
  // Links of a kind that stand.
  int Count(v1::KvChannelKind kind) const;

  // Dropped if the link is closed.
  void Send(LinkId link, v1::LinkResponse response) const;
  void SendRevocations(const std::vector<Revocation>& revocations) const;

  // Closed links whose mapper is gone: they are forgotten, and their leases can be freed.
  std::vector<LinkId> TakeDead();

 private:
  struct Link {
    v1::KvChannelKind kind = v1::KV_CHANNEL_KIND_GRPC;
    std::function<void(v1::LinkResponse)> send;
  };
  const SharedMemory* shared_;
  std::map<LinkId, Link> open_;
  std::vector<LinkId> closed_;  // in place, not yet known to be dead
};

}  // namespace tandem
