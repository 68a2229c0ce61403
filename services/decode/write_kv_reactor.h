// SPDX-License-Identifier: Apache-2.0
// WriteKvReactor: one WriteKv call: pieces of rows as bytes, each copied into its page by the loop
// before the next is read. Made with new by the service; deletes itself when gRPC is done with it,
// which is after the loop's last reply.
#pragma once

#include "services/decode/decode_loop.h"
#include "services/runtime/base/quota.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

class WriteKvReactor final : public grpc::ServerReadReactor<v1::WriteKvRequest> {
 public:
  // `ticket`: of the calls at once.
  WriteKvReactor(DecodeLoop& loop, v1::WriteKvResponse& response, Quota::Ticket ticket);

 private:
  void OnReadDone(bool ok) override;
  void OnDone() override { delete this; }
  void OnCopied(const absl::Status& status);

  DecodeLoop& loop_;
  v1::WriteKvResponse& response_;
  const Quota::Ticket ticket_;
  v1::WriteKvRequest request_;
  bool first_ = true;
  LeaseKey key_;
  int tokens_ = 0;
};

// The loop's share: a piece goes to its page. `memory`: its lease's.
absl::Status CopyPiece(const WriteKvCommand& command, const Grant& memory, KvStorage& storage);

}  // namespace tandem
