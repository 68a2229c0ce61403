// SPDX-License-Identifier: Apache-2.0
// SharedChannel: the decode worker's pool is mapped here, and rows are computed in their final
// place. No copy.
#pragma once

#include <memory>
#include <utility>

#include "services/runtime/kv/kv_storage.h"
#include "services/runtime/transfer/kv_channel.h"

namespace tandem {

// Whether what a decode worker granted lies in its pool and holds so many tokens; INVALID_ARGUMENT.
absl::Status CheckGrant(const KvLayout& layout, const Grant& lease, int tokens);

class SharedChannel final : public KvChannel {
 public:
  SharedChannel(PoolId pool, std::unique_ptr<KvStorage> mapped)
      : pool_(pool), mapped_(std::move(mapped)) {}

  v1::KvChannelKind kind() const override { return v1::KV_CHANNEL_KIND_SHARED; }
  absl::StatusOr<KvPlace> Open(const Grant& lease, int tokens) override;
  void Write(const LeaseKey& key, int tokens) override;
  void Fence(const LeaseKey& key, std::function<void(absl::Status)> done) override;
  void Close(const LeaseKey& key) override;

 private:
  const PoolId pool_;
  const std::unique_ptr<KvStorage> mapped_;
};

}  // namespace tandem
