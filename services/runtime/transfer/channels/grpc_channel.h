// SPDX-License-Identifier: Apache-2.0
// GrpcChannel: rows are computed in a staging pool of this process and travel as bytes, in messages
// of 1 MiB. Works everywhere.
#pragma once

#include <map>
#include <memory>

#include "services/runtime/transfer/channels/staged_channel.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

class GrpcChannel final : public StagedChannel {
 public:
  // Borrows both. Without `data_runs_on` (LinkOffer) a message ends with its extent.
  GrpcChannel(StagingPool& staging, v1::DecodeService::StubInterface& stub, bool data_runs_on);
  ~GrpcChannel() override;

  v1::KvChannelKind kind() const override { return v1::KV_CHANNEL_KIND_GRPC; }
  // A lease has one call, with all its rows.
  void Advance(const LeaseKey& /*key*/, int /*tokens*/) override {}
  // The decode worker takes no bytes for a lease that is over.
  bool MayWrite(const LeaseKey& /*key*/) const override { return false; }
  void Tend() override;

 private:
  class Call;

  void Send(Transfer& transfer, const KvPart& part) override;
  void GiveUp(const LeaseKey& key) override;

  v1::DecodeService::StubInterface& stub_;
  const bool data_runs_on_;
  std::map<uint64_t, std::unique_ptr<Call>> calls_;  // by lease id; until they are over
};

}  // namespace tandem
