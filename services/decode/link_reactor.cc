// SPDX-License-Identifier: Apache-2.0
#include "services/decode/link_reactor.h"

#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/transfer/wire.h"

namespace tandem {
namespace {

// What may wait on one link. A writer waits for the answer before it speaks of a lease again, so at
// any time it has one message under way for each lease at most, and each may be ordered to stop:
// two for every slot. The rest is for leases that were over before their message came.
int64_t WaitingMax(const KvStorage& storage) {
  constexpr int64_t kOverLeases = 1024;
  return kOverLeases + 2 * int64_t{storage.layout().slots()};
}

// A peer may make this side wait for a communicator, but not for ever.
constexpr absl::Duration kNcclLimitMax = absl::Minutes(1);

// Fresh for every link, so that memory that happens to look right is not taken for shared.
std::string RandomPattern(size_t bytes) {
  std::random_device random;
  std::string out(bytes, '\0');
  for (char& byte : out) byte = static_cast<char>(random());
  return out;
}

}  // namespace

LinkReactor::LinkReactor(DecodeLoop& loop, LinkId link, Quota::Ticket ticket)
    : loop_(loop), link_(link), ticket_(std::move(ticket)) {
  StartRead(&request_);
}

void LinkReactor::OnReadDone(bool ok) {
  if (!ok) return End(absl::OkStatus());
  if (const absl::Status status = Handle(request_); !status.ok()) {
    LogWarning("link-refused", {{"link", link_}, {"why", std::string(status.message())}});
    return End(status);
  }
  StartRead(&request_);
}

void LinkReactor::Send(v1::LinkResponse response) {
  // An answer takes the place of what it answers.
  if (!response.has_verdict() && !response.has_ended() && !response.has_part()) ++waiting_;
  outbox_.Push(std::move(response));
}

void LinkReactor::OnWriteDone(bool ok) {
  --waiting_;
  if (ok) outbox_.Next();  // else the read fails as well, and ends the link
}

void LinkReactor::End(const absl::Status& status) {
  if (outbox_.Close()) Finish(ToGrpcStatus(status));
}

void LinkReactor::OnDone() {
  LinkClosedCommand closed{.link = link_, .dispose = [this] { delete this; }};
  // The loop is gone: nobody else holds a pointer.
  if (!loop_.PostAlways(std::move(closed))) delete this;
}

absl::Status LinkReactor::Handle(const v1::LinkRequest& request) {
  if (phase_ == Phase::kHello && request.has_hello()) return OnHello(request.hello());
  if (phase_ == Phase::kChoice && request.has_choice()) return OnChoice(request.choice());
  const bool lease = request.has_begin_write() || request.has_end_write() || request.has_part();
  if (phase_ == Phase::kReady && lease) return OnLease(request);
  return InvalidField("event",
                      absl::StrCat("hello, choice, then leases; got case ", request.event_case()));
}

absl::Status LinkReactor::OnLease(const v1::LinkRequest& request) {
  if (const int64_t most = WaitingMax(loop_.storage()); ++waiting_ > most) {
    return QueueFull({.message = absl::StrCat("link: at most ", most,
                                              " messages may wait for an answer or a reader")});
  }
  const auto post = [&] {
    if (request.has_part())
      return loop_.PostAlways(LinkPartCommand{.link = link_, .part = FromProto(request.part())});
    if (request.has_begin_write()) {
      return loop_.PostAlways(
          LinkBeginCommand{.link = link_, .key = FromProto(request.begin_write())});
    }
    return loop_.PostAlways(LinkEndCommand{
        .link = link_, .key = FromProto(request.end_write()), .tokens = request.tokens()});
  };
  return post() ? absl::OkStatus() : LoopGone();
}

absl::Status LinkReactor::OnHello(const v1::LinkHello& hello) {
  const KvStorage& storage = loop_.storage();
  if (hello.peer_incarnation() != loop_.incarnation()) {
    return LeaseLost(absl::StrCat("link: incarnation ", hello.peer_incarnation(),
                                  " is meant, this is ", loop_.incarnation()));
  }
  if (const absl::Status equal = CheckFormats(FormatOf(storage.layout()), hello.kv_format());
      !equal.ok()) {
    return LayoutMismatch(equal.message());
  }
  v1::LinkResponse response;
  v1::LinkOffer& offer = *response.mutable_offer();
  offer.set_link_id(link_);
  offer.set_pages(storage.layout().pages());
  offer.set_slots(storage.layout().slots());
  const SharedMemory* const shared = storage.shared();
  if (shared != nullptr || loop_.nccl() != nullptr) {
    pattern_ = RandomPattern(storage.pattern_bytes());
    offer.set_test_pattern(pattern_);
    offer.set_copies(static_cast<uint32_t>(storage.backends().size()));
  }
  offer.set_nccl(loop_.nccl() != nullptr);
  offer.set_data_runs_on(true);
  if (shared != nullptr) {
    storage.WriteTest(link_, pattern_);
    offer.set_shm_name(shared->name());
    offer.set_shm_bytes(shared->size());
    for (const std::string& handle : storage.gpu_memory()) offer.add_gpu_memory(handle);
    offer.set_pool_offset(KvStorage::kPoolOffset);
    offer.set_test_offset(KvStorage::TestOffset(link_));
  }
  phase_ = Phase::kChoice;
  Send(std::move(response));
  return absl::OkStatus();
}

absl::Status LinkReactor::OnChoice(const v1::LinkChoice& choice) {
  if (!choice.downgrade_reason().empty())
    LogInfo("link-downgrade", {{"link", link_}, {"why", choice.downgrade_reason()}});
  if (choice.kind() == v1::KV_CHANNEL_KIND_NCCL) return JoinNccl(choice);
  const bool wanted =
      choice.kind() == v1::KV_CHANNEL_KIND_SHARED || choice.kind() == v1::KV_CHANNEL_KIND_IPC;
  const KvStorage& storage = loop_.storage();
  const bool mapped =
      wanted && storage.shared() != nullptr && storage.ReadTest(link_) == Inverted(pattern_);
  const v1::KvChannelKind kind = mapped ? choice.kind() : v1::KV_CHANNEL_KIND_GRPC;
  LinkOpenedCommand opened{.link = link_, .kind = kind, .send = [this](v1::LinkResponse response) {
                             Send(std::move(response));
                           }};
  if (!loop_.PostAlways(std::move(opened))) return LoopGone();
  SayReady(kind, absl::OkStatus());
  return absl::OkStatus();
}

absl::Status LinkReactor::JoinNccl(const v1::LinkChoice& choice) {
  if (loop_.nccl() == nullptr) return InvalidField("choice.kind", "a kind that was offered");
  const auto copies = static_cast<uint32_t>(loop_.storage().backends().size());
  if (choice.nccl_id().size() != Nccl::kIdBytes || choice.nccl_senders() < 1 ||
      choice.nccl_senders() > copies) {
    return InvalidField(
        "choice",
        absl::StrCat("nccl_id of ", Nccl::kIdBytes, " bytes, nccl_senders of 1 to ", copies,
                     ", got ", choice.nccl_id().size(), " bytes and ", choice.nccl_senders()));
  }
  const absl::Duration limit = FromProto(choice.nccl_limit());
  if (limit <= absl::ZeroDuration() || limit > kNcclLimitMax) {
    return InvalidField("choice.nccl_limit",
                        absl::StrCat("above 0, at most ", absl::FormatDuration(kNcclLimitMax)));
  }
  phase_ = Phase::kJoining;
  nccl_ = std::make_unique<NcclEnd>(
      NcclEnd::Options{.port = loop_.nccl(),
                       .senders = static_cast<int>(choice.nccl_senders()),
                       .receivers = static_cast<int>(copies),
                       .id = choice.nccl_id(),
                       .pattern = Inverted(pattern_),
                       .limit = limit,
                       .joined = [this](const absl::Status& status) { OnJoined(status); },
                       .lost = [this](const absl::Status& status) { End(status); }});
  // Whatever becomes of it, the loop waits for its end before it lets go of the link.
  LinkOpenedCommand opened{.link = link_, .nccl = nccl_.get(), .send = [this](v1::LinkResponse r) {
                             Send(std::move(r));
                           }};
  const bool posted = loop_.PostAlways(std::move(opened));
  opened_.Notify();
  return posted ? absl::OkStatus() : LoopGone();
}

void LinkReactor::OnJoined(const absl::Status& status) {
  opened_.WaitForNotification();
  const bool joined = status.ok() && loop_.PostAlways(LinkJoinedCommand{.link = link_});
  SayReady(joined ? v1::KV_CHANNEL_KIND_NCCL : v1::KV_CHANNEL_KIND_GRPC, status);
}

void LinkReactor::SayReady(v1::KvChannelKind kind, const absl::Status& why) {
  LogInfo("link-up",
          {{"link", link_}, {"kind", NameOf(kind)}, {"why", std::string(why.message())}});
  v1::LinkResponse response;
  response.mutable_ready()->set_kind(kind);
  response.mutable_ready()->set_reason(std::string(why.message()));
  phase_ = Phase::kReady;
  Send(std::move(response));
}

}  // namespace tandem
