// SPDX-License-Identifier: Apache-2.0
// WriteKvReactor: one WriteKv call: pieces of rows as bytes, each copied into its pages by the loop
// before the next is read. Made with new by the service; deletes itself when gRPC is done with it,
// which is after the loop's last reply.
#pragma once

#include <vector>

#include "absl/synchronization/mutex.h"
#include "services/decode/decode_loop.h"
#include "services/decode/quota.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

class WriteKvReactor final : public grpc::ServerReadReactor<v1::WriteKvRequest> {
 public:
  // `ticket`: of the calls at once.
  WriteKvReactor(DecodeLoop& loop, v1::WriteKvResponse& response, Quota::Ticket ticket);

 private:
  void OnReadDone(bool ok) override;
  void OnDone() override;
  void OnCopied(const absl::Status& status);
  // gRPC hands what the loop has written to the thread that ends the call by means that TSan cannot
  // see.
  void Order() { absl::MutexLock lock(&mutex_); }

  DecodeLoop& loop_;
  v1::WriteKvResponse& response_;
  const Quota::Ticket ticket_;
  v1::WriteKvRequest request_;
  bool first_ = true;
  LeaseKey key_;
  int tokens_ = 0;
  std::vector<KvExtent> extents_;  // the loop's, while it has a piece
  absl::Mutex mutex_;
};

// The loop's share: a piece goes to its pages. `memory`: its lease's, in all pieces of a call.
absl::Status CopyPiece(const WriteKvCommand& command, const Grant& memory,
                       const KvStorage& storage);

}  // namespace tandem
