// SPDX-License-Identifier: Apache-2.0
// LinkReactor: the decode worker's side of one Link stream: hello, offer, choice, ready, then
// leases to and from the loop; and with kind NCCL its end of the communicator.
//
// Made by the service with new. Once the stream is over it is the loop's (LinkClosedCommand), which
// deletes it after it has forgotten the link; so the loop may send at any time before. Send is
// thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "services/decode/decode_loop.h"
#include "services/decode/quota.h"
#include "services/runtime/transfer/nccl/nccl_end.h"
#include "services/runtime/transfer/outbox.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

class LinkReactor final : public grpc::ServerBidiReactor<v1::LinkRequest, v1::LinkResponse> {
 public:
  // `ticket`: of the links at once.
  LinkReactor(DecodeLoop& loop, LinkId link, Quota::Ticket ticket);
  // Takes the lock that every reaction took: all of them are over, and seen to be.
  ~LinkReactor() override { (void)outbox_.Close(); }

  void Send(v1::LinkResponse response);

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

  // An error ends the link: FAILED_PRECONDITION, INVALID_ARGUMENT, ABORTED, or RESOURCE_EXHAUSTED
  // for a writer that asks without listening.
  absl::Status Handle(const v1::LinkRequest& request);
  absl::Status OnHello(const v1::LinkHello& hello);
  absl::Status OnChoice(const v1::LinkChoice& choice);
  // Joins the communicator; the answer comes when it is known whether it works.
  absl::Status JoinNccl(const v1::LinkChoice& choice);
  void OnJoined(const absl::Status& status);
  void SayReady(v1::KvChannelKind kind, const absl::Status& why);
  absl::Status OnLease(const v1::LinkRequest& request);
  void End(const absl::Status& status);

  // What the other side has to say next.
  enum class Phase { kHello, kChoice, kJoining, kReady };

  DecodeLoop& loop_;
  const LinkId link_;
  const Quota::Ticket ticket_;
  std::atomic<Phase> phase_ = Phase::kHello;
  std::string pattern_;
  v1::LinkRequest request_;
  // Messages of the writer that are not answered yet, and ours that are not written yet.
  std::atomic<int64_t> waiting_ = 0;
  Outbox<v1::LinkResponse> outbox_{
      [this](const v1::LinkResponse* message) { StartWrite(message); }};
  absl::Notification opened_;  // the loop has heard of the link before it hears that it has joined
  std::unique_ptr<NcclEnd> nccl_;  // made by the choice; last: it uses all of the above
};

}  // namespace tandem
