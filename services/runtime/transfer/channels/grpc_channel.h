// SPDX-License-Identifier: Apache-2.0
// GrpcChannel: rows are computed in a staging pool of this process and travel as bytes, in messages
// of 1 MiB. Works everywhere.
#pragma once

#include <map>
#include <memory>

#include "services/runtime/transfer/channels/staged_channel.h"
#include "services/runtime/transfer/kv_channel.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

class GrpcChannel final : public KvChannel {
 public:
  // Borrows both. Without `data_runs_on` (LinkOffer) a message ends with its extent.
  GrpcChannel(StagingPool& staging, v1::DecodeService::StubInterface& stub, bool data_runs_on);
  ~GrpcChannel() override;

  v1::KvChannelKind kind() const override { return v1::KV_CHANNEL_KIND_GRPC; }
  absl::StatusOr<KvPlace> Open(const Grant& lease, int tokens) override;
  KvTravel Write(const LeaseKey& key, int tokens) override;
  void Fence(const LeaseKey& key, std::function<void(absl::Status)> done) override;
  void Close(const LeaseKey& key) override;

 private:
  class Call;
  struct Transfer {
    Allocation memory;
    std::unique_ptr<Call> call;  // from Write on
  };

  StagingPool& staging_;
  v1::DecodeService::StubInterface& stub_;
  const bool data_runs_on_;
  std::map<uint64_t, Transfer> transfers_;  // by lease id
};

}  // namespace tandem
