// SPDX-License-Identifier: Apache-2.0
// NcclChannel: rows are sent from the staging pool by NCCL, and the decode worker receives them
// into its pages. Each part is asked for on the link first, so that both sides have the same
// messages to come.
#pragma once

#include "services/runtime/transfer/channels/staged_channel.h"
#include "services/runtime/transfer/link_client.h"

namespace tandem {

class NcclChannel final : public StagedChannel {
 public:
  // Borrows both. The link may end first: all that it was asked has an end then.
  NcclChannel(StagingPool& staging, LinkClient& link) : StagedChannel(staging), link_(link) {}
  ~NcclChannel() override { CloseAll(); }

  v1::KvChannelKind kind() const override { return v1::KV_CHANNEL_KIND_NCCL; }

 private:
  void Send(Transfer& transfer, const KvPart& part) override;
  void GiveUp(const LeaseKey& key) override { link_.GiveUpParts(key); }
  // It receives what it has been asked for, wanted or not.
  bool PeerKeepsLease() const override { return true; }

  LinkClient& link_;
};

}  // namespace tandem
