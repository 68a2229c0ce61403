// SPDX-License-Identifier: Apache-2.0
// IpcChannel: rows are computed in a staging pool of this worker's GPU and copied from there into
// the decode worker's pool, which lies on another GPU and is mapped here.
//
// Full pages of a prompt travel while its next chunk is computed, so that what is left at its end
// is the last chunk's rows and the sequence's states. On the host the same goes from memory to
// memory.
#pragma once

#include <map>
#include <memory>
#include <utility>

#include "services/runtime/kv/kv_storage.h"
#include "services/runtime/transfer/grpc_channel.h"
#include "services/runtime/transfer/kv_channel.h"
#include "services/runtime/transfer/kv_copier.h"

namespace tandem {

class IpcChannel final : public KvChannel {
 public:
  // Borrows staging pool and copier.
  IpcChannel(StagingPool& staging, KvCopier& copier, std::unique_ptr<KvStorage> mapped);
  ~IpcChannel() override;

  v1::KvChannelKind kind() const override { return v1::KV_CHANNEL_KIND_IPC; }
  absl::StatusOr<KvPlace> Open(const Grant& lease, int tokens) override;
  void Advance(const LeaseKey& key, int tokens) override;
  uint64_t Write(const LeaseKey& key, int tokens) override;
  void Fence(const LeaseKey& key, std::function<void(absl::Status)> done) override;
  void Close(const LeaseKey& key) override;

 private:
  class Transfer;
  void Send(Transfer& transfer, const KvPart& part);

  StagingPool& staging_;
  KvCopier& copier_;
  const std::unique_ptr<KvStorage> mapped_;
  std::map<uint64_t, std::unique_ptr<Transfer>> transfers_;  // by lease id
};

}  // namespace tandem
