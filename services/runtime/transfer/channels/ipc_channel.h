// SPDX-License-Identifier: Apache-2.0
// IpcChannel: rows are copied from the staging pool into the decode worker's pool, which lies on
// another GPU and is mapped here: full pages while the next chunk is computed, those of the last
// chunk and the states layer by layer while it is. On the host the same goes from memory to memory.
#pragma once

#include <memory>

#include "services/runtime/kv/kv_storage.h"
#include "services/runtime/transfer/channels/kv_copier.h"
#include "services/runtime/transfer/channels/staged_channel.h"

namespace tandem {

class IpcChannel final : public StagedChannel {
 public:
  // Borrows staging pool and copier.
  IpcChannel(StagingPool& staging, KvCopier& copier, std::unique_ptr<KvStorage> mapped);
  ~IpcChannel() override;

  v1::KvChannelKind kind() const override { return v1::KV_CHANNEL_KIND_IPC; }
  absl::StatusOr<KvPlace> Open(const Grant& lease, int tokens) override;
  bool TakesLayers() const override { return true; }
  void AdvanceLayers(const LeaseKey& key, int tokens, int layers) override {
    SendLayers(key, tokens, layers);
  }

 private:
  void Send(Transfer& transfer, const KvPart& part) override;

  KvCopier& copier_;
  const std::unique_ptr<KvStorage> mapped_;
};

}  // namespace tandem
