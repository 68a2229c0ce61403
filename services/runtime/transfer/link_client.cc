// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/link_client.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/transfer/nccl/nccl_parts.h"
#include "services/runtime/transfer/offered_pool.h"
#include "services/runtime/transfer/outbox.h"

namespace tandem {

class LinkClient::Reactor final
    : public grpc::ClientBidiReactor<v1::LinkRequest, v1::LinkResponse> {
 public:
  Reactor(v1::DecodeService::StubInterface& stub, Options options) : options_(std::move(options)) {
    stub.async()->Link(&context_, this);
    v1::LinkRequest request;
    v1::LinkHello& hello = *request.mutable_hello();
    hello.set_incarnation(options_.incarnation);
    hello.set_peer_incarnation(options_.peer_incarnation);
    *hello.mutable_kv_format() = options_.kv_format;
    // Send may be called from the loop while no reaction of ours runs; the hold keeps the call open
    // for it.
    AddHold();
    Send(std::move(request));
    StartRead(&response_);
    StartCall();
  }

  ~Reactor() override {
    Close();
    while (!done_.WaitForNotificationWithTimeout(options_.limit)) CheckSelfTest();
  }

  void Close(bool cancel = true) {
    if (!outbox_.Close()) return;
    {
      absl::MutexLock lock(&mutex_);
      closed_ = Clock::Real().Now();
      if (end_ != nullptr) end_->Abort();
    }
    if (cancel) context_.TryCancel();
    RemoveHold();
  }

  bool Ended() {
    if (done_.HasBeenNotified()) return end_ == nullptr || end_->Over();
    CheckSelfTest();
    return false;
  }

  void BeginWrite(const LeaseKey& key) {
    ++answers_due_;
    ++begun_;
    v1::LinkRequest request;
    *request.mutable_begin_write() = ToProto(key);
    Send(std::move(request));
  }

  void EndWrite(const LeaseKey& key, int tokens) {
    ++answers_due_;
    v1::LinkRequest request;
    *request.mutable_end_write() = ToProto(key);
    request.set_tokens(tokens);
    Send(std::move(request));
  }

  void SendPart(const LinkPart& part, NcclEnd::Order order) {
    parts_.Ask(part.key, std::move(order));
    ++answers_due_;
    v1::LinkRequest request;
    *request.mutable_part() = ToProto(part);
    Send(std::move(request));
  }

  void GiveUpParts(const LeaseKey& key) { parts_.GiveUp(key); }

  // A write that fails says that the call is over; the read that fails then comes with the other
  // side's reason, unless the call is cancelled.
  void OnWriteDone(bool ok) override {
    if (ok) outbox_.Next();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Close(/*cancel=*/false);
    Handle(response_);
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    absl::Status why = refusal_.ok() ? FromGrpcStatus(status) : refusal_;
    if (const absl::Status nccl = LostNccl(); !nccl.ok()) why = nccl;
    if (why.ok()) why = absl::UnavailableError("the decode worker closed the link");
    Post(LinkDown{.why = std::move(why)});
    parts_.End();
    done_.Notify();
  }

 private:
  // What the other side has to say next.
  enum class Phase { kOffer, kReady, kLeases };

  void Send(v1::LinkRequest request) { outbox_.Push(std::move(request)); }

  template <typename Event>
  void Post(Event event) {
    options_.post({.link = options_.serial, .what = std::move(event)});
  }

  // No call of ours comes back from a GPU that hangs, and its memory cannot be unmapped.
  void CheckSelfTest() {
    absl::MutexLock lock(&mutex_);
    if (!testing_ || Clock::Real().Now() - closed_ < options_.limit) return;
    CheckFailed(__FILE__, __LINE__,
                absl::StrCat("link to a decode worker: the self-test in its memory still runs ",
                             absl::FormatDuration(options_.limit), " after it was given up"));
  }

  void Handle(const v1::LinkResponse& response) {
    if (!refusal_.ok()) return;  // the call is being cancelled
    if (!InTurn(response)) {
      return Refuse(absl::FailedPreconditionError(absl::StrCat(
          "link: the decode worker spoke out of turn (case ", response.event_case(), ")")));
    }
    switch (response.event_case()) {
      case v1::LinkResponse::kOffer:
        return OnOffer(response.offer());
      case v1::LinkResponse::kReady:
        return OnReady(response.ready());
      case v1::LinkResponse::kVerdict:
        return OnVerdict(response.verdict());
      case v1::LinkResponse::kRevoke:
        return Post(LeaseRevoked{.key = FromProto(response.revoke())});
      case v1::LinkResponse::kEnded:
        if (revoked_ > 0) --revoked_;
        --begun_;
        return Post(LeaseEnded{.key = FromProto(response.ended())});
      case v1::LinkResponse::kPart:
        return OnPart(response.part());
      case v1::LinkResponse::EVENT_NOT_SET:
        return;
    }
  }

  // One answer to each message of ours, and one order to stop for each lease that is being written:
  // so what waits for the loop is bounded by what the loop has asked for, whoever the peer is.
  bool InTurn(const v1::LinkResponse& response) {
    if (response.has_offer()) return phase_ == Phase::kOffer;
    if (response.has_ready()) return phase_ == Phase::kReady;
    if (response.has_verdict() || response.has_ended() || response.has_part())
      return --answers_due_ >= 0;
    return response.has_revoke() && ++revoked_ <= begun_;
  }

  void OnVerdict(const v1::WriteVerdict& verdict) {
    if (!verdict.granted()) --begun_;
    LeaseVerdict event{.key = FromProto(verdict.lease()), .memory = std::nullopt};
    if (verdict.granted()) {
      event.memory = {.key = event.key,
                      .slot = static_cast<int>(verdict.slot()),
                      .pages = {verdict.pages().begin(), verdict.pages().end()}};
    }
    Post(std::move(event));
  }

  void OnPart(const v1::PartVerdict& verdict) {
    if (end_ != nullptr && parts_.Answer(FromProto(verdict.lease()), verdict.accepted(), *end_))
      return;
    Refuse(absl::FailedPreconditionError("link: the decode worker answers for another part"));
  }

  void OnOffer(const v1::LinkOffer& offer) {
    phase_ = Phase::kReady;
    data_runs_on_ = offer.data_runs_on();
    Choose(offer);
    // By NCCL the choice is sent once it has a name.
    if (kind_ != v1::KV_CHANNEL_KIND_NCCL) SendChoice();
  }

  void SendChoice() {
    v1::LinkRequest request;
    request.mutable_choice()->set_kind(kind_);
    request.mutable_choice()->set_downgrade_reason(downgrade_reason_);
    Send(std::move(request));
  }

  // The first kind from the preferred one on that has a chance; the last one always has.
  void Choose(const v1::LinkOffer& offer) {
    const v1::KvChannelKind preferred = options_.preferred;
    if (preferred == v1::KV_CHANNEL_KIND_GRPC) return;
    if (preferred != v1::KV_CHANNEL_KIND_NCCL) {
      testing_ = true;
      absl::StatusOr<std::unique_ptr<KvStorage>> mapped =
          MapOffer(offer, *options_.config, options_.backends);
      testing_ = false;
      if (mapped.ok()) {
        mapped_ = *std::move(mapped);
        kind_ = mapped_->near() ? preferred : v1::KV_CHANNEL_KIND_IPC;
        if (kind_ != preferred) downgrade_reason_ = "the decode worker's pool is on another GPU";
        return;
      }
      downgrade_reason_ = std::string(mapped.status().message());
    }
    if (const absl::Status begun = BeginNccl(offer); !begun.ok()) AddReason(begun.message());
  }

  void AddReason(absl::string_view reason) {
    absl::StrAppend(&downgrade_reason_, downgrade_reason_.empty() ? "" : "; ", reason);
  }

  // Joins the link's communicator, whose first ranks send.
  absl::Status BeginNccl(const v1::LinkOffer& offer) {
    if (options_.nccl.port == nullptr) return absl::NotFoundError("nccl: " + options_.nccl.why_not);
    if (!offer.nccl()) return absl::NotFoundError("nccl: the decode worker has none");
    const int copies = static_cast<int>(offer.copies());
    if (copies < 1 || offer.test_pattern().size() != copies * KvStorage::kTestCellBytes)
      return absl::FailedPreconditionError("nccl: the offer has no pattern for each copy");
    const int senders = std::min(options_.nccl.port->ranks(), copies);
    absl::MutexLock lock(&mutex_);
    if (closed_ < absl::InfiniteFuture()) return absl::CancelledError("nccl: the link is over");
    kind_ = v1::KV_CHANNEL_KIND_NCCL;
    end_ = std::make_unique<NcclEnd>(NcclEnd::Options{
        .port = options_.nccl.port,
        .sends = true,
        .senders = senders,
        .receivers = copies,
        .pattern = Inverted(offer.test_pattern()),
        .limit = options_.nccl.limit,
        .named = [this, senders, reason = downgrade_reason_](
                     absl::StatusOr<std::string> id) { SendNamed(id, senders, reason); },
        .joined = [this](absl::Status status) { OnNccl(std::move(status)); },
        .lost = [this](absl::Status status) { OnNccl(std::move(status)); }});
    return absl::OkStatus();
  }

  void SendNamed(const absl::StatusOr<std::string>& id, int senders, const std::string& reason) {
    // Known before the decode worker can answer.
    if (!id.ok()) OnNccl(id.status());
    v1::LinkRequest request;
    v1::LinkChoice& choice = *request.mutable_choice();
    choice.set_kind(id.ok() ? v1::KV_CHANNEL_KIND_NCCL : v1::KV_CHANNEL_KIND_GRPC);
    choice.set_downgrade_reason(id.ok() ? reason : std::string(id.status().message()));
    if (id.ok()) choice.set_nccl_id(*id);
    choice.set_nccl_senders(static_cast<uint32_t>(senders));
    *choice.mutable_nccl_limit() = ToProto(options_.nccl.limit);
    Send(std::move(request));
  }

  // The communicator works, or does not any more. Until the decode worker has said that it counts,
  // that is a reason; after that, the end of the link.
  void OnNccl(absl::Status status) {
    if (status.ok()) return;
    bool counts = false;
    {
      absl::MutexLock lock(&mutex_);
      nccl_status_ = std::move(status);
      counts = nccl_counts_;
    }
    if (counts) Close();
  }

  absl::Status LostNccl() {
    absl::MutexLock lock(&mutex_);
    return nccl_counts_ ? nccl_status_ : absl::OkStatus();
  }

  void Refuse(absl::Status why) {
    refusal_ = std::move(why);
    Close();
  }

  void OnReady(const v1::LinkReady& ready) {
    phase_ = Phase::kLeases;
    const bool by_nccl = kind_ == v1::KV_CHANNEL_KIND_NCCL;
    if (ready.kind() != kind_) {
      mapped_.reset();
      kind_ = v1::KV_CHANNEL_KIND_GRPC;
      AddReason(by_nccl ? WhyNoNccl(ready)
                        : "self-test: the decode worker did not find the answer in its memory");
    } else if (by_nccl) {
      absl::MutexLock lock(&mutex_);
      nccl_counts_ = true;
      if (!nccl_status_.ok()) refusal_ = nccl_status_;
    }
    if (!downgrade_reason_.empty() && options_.strict) {
      refusal_ = ChannelDowngrade(absl::StrCat("KV channel: ", NameOf(options_.preferred),
                                               " is required, but ", downgrade_reason_));
    }
    if (!refusal_.ok()) return Close();
    Post(LinkUp{.kind = kind_,
                .mapped = std::move(mapped_),
                .data_runs_on = data_runs_on_,
                .downgrade_reason = downgrade_reason_});
  }

  // What this side has found out, else what the other one says.
  std::string WhyNoNccl(const v1::LinkReady& ready) {
    absl::MutexLock lock(&mutex_);
    end_->Abort();
    if (!nccl_status_.ok()) return std::string(nccl_status_.message());
    return absl::StrCat("the decode worker says: ", ready.reason());
  }

  const Options options_;
  grpc::ClientContext context_;
  v1::LinkResponse response_;
  Outbox<v1::LinkRequest> outbox_{[this](const v1::LinkRequest* message) { StartWrite(message); }};
  v1::KvChannelKind kind_ = v1::KV_CHANNEL_KIND_GRPC;
  std::unique_ptr<KvStorage> mapped_;  // from the offer until LinkUp
  bool data_runs_on_ = false;
  std::string downgrade_reason_;
  absl::Status refusal_;
  Phase phase_ = Phase::kOffer;
  int64_t revoked_ = 0;  // of the leases begun
  std::atomic<int64_t> answers_due_ = 0;
  std::atomic<int64_t> begun_ = 0;  // leases from begin_write to ended
  NcclParts parts_;
  absl::Mutex mutex_;
  std::atomic<bool> testing_ = false;  // maps the pool, and touches it
  absl::Time closed_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  absl::Status nccl_status_ ABSL_GUARDED_BY(mutex_);
  bool nccl_counts_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Notification done_;
  std::unique_ptr<NcclEnd> end_;  // made by the offer; last: it uses all of the above
};

std::unique_ptr<LinkClient> LinkClient::Open(v1::DecodeService::StubInterface& stub,
                                             Options options) {
  return std::unique_ptr<LinkClient>(
      new LinkClient(std::make_unique<Reactor>(stub, std::move(options))));
}

LinkClient::LinkClient(std::unique_ptr<Reactor> reactor) : reactor_(std::move(reactor)) {}
LinkClient::~LinkClient() = default;

void LinkClient::BeginWrite(const LeaseKey& key) {
  reactor_->BeginWrite(key);
}

void LinkClient::EndWrite(const LeaseKey& key, int tokens) {
  reactor_->EndWrite(key, tokens);
}

void LinkClient::SendPart(const LinkPart& part, NcclEnd::Order order) {
  reactor_->SendPart(part, std::move(order));
}

void LinkClient::GiveUpParts(const LeaseKey& key) {
  reactor_->GiveUpParts(key);
}

void LinkClient::Cancel() {
  reactor_->Close();
}

bool LinkClient::Ended() const {
  return reactor_->Ended();
}

}  // namespace tandem
