// SPDX-License-Identifier: Apache-2.0
#include "services/decode/decode_service.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/decode/answers/generate_stream.h"
#include "services/decode/link_reactor.h"
#include "services/decode/write_kv_reactor.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/rpc/trace/trace_context.h"
#include "services/runtime/transfer/wire.h"

namespace tandem {
namespace {

absl::Status Busy() {
  return QueueFull({.message = "the decode worker's command queue is full"});
}

absl::Status TooMany(absl::string_view what, const Quota& quota) {
  return QueueFull({.message = absl::StrCat(what, ": at most ", quota.most(), " at once")});
}

// A stream that is refused as it opens. Made with new, deletes itself.
template <typename Reactor>
class Refused final : public Reactor {
 public:
  explicit Refused(const absl::Status& status) { this->Finish(ToGrpcStatus(status)); }

 private:
  void OnDone() override { delete this; }
};

// One Reserve call. A caller that is gone hears of no grant: it goes back at once, not at its
// expiry. Made with new by the service, deletes itself.
class ReserveReactor final : public grpc::ServerUnaryReactor {
 public:
  explicit ReserveReactor(DecodeLoop& loop) : loop_(loop) {}

  // Once.
  void Answer(const absl::StatusOr<Grant>& grant) {
    if (grant.ok()) {
      absl::MutexLock lock(&mutex_);
      granted_ = grant->key;
    }
    Finish(ToGrpcStatus(grant.status()));
  }

 private:
  void OnCancel() override {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
  }
  void OnDone() override {
    {
      absl::MutexLock lock(&mutex_);
      // A loop that is stopping has no leases left.
      if (cancelled_ && granted_.has_value())
        (void)loop_.PostAlways(ReleaseCommand{.key = *granted_, .reply = [] {}});
    }
    delete this;
  }

  DecodeLoop& loop_;
  absl::Mutex mutex_;
  std::optional<LeaseKey> granted_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

grpc::ServerUnaryReactor* DecodeServiceImpl::Reserve(grpc::CallbackServerContext* /*context*/,
                                                     const v1::ReserveRequest* request,
                                                     v1::ReserveResponse* response) {
  auto* reactor = new ReserveReactor(loop_);
  ReserveCommand command{.tokens = request->tokens(),
                         .reply = [this, reactor, response](const absl::StatusOr<Grant>& grant) {
                           if (!grant.ok()) return reactor->Answer(grant);
                           v1::Reservation& out = *response->mutable_reservation();
                           out.set_incarnation(grant->key.incarnation);
                           out.set_lease_id(grant->key.lease_id);
                           out.set_epoch(grant->key.epoch);
                           *out.mutable_ttl() = ToProto(options_.lease_ttl);
                           out.set_endpoint(options_.endpoint);
                           reactor->Answer(grant);
                         }};
  if (!loop_.Post(std::move(command))) reactor->Answer(Busy());
  return reactor;
}

grpc::ServerUnaryReactor* DecodeServiceImpl::Release(grpc::CallbackServerContext* context,
                                                     const v1::ReleaseRequest* request,
                                                     v1::ReleaseResponse* /*response*/) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  ReleaseCommand command{.key = KeyOf(request->reservation()),
                         .reply = [reactor] { reactor->Finish(grpc::Status::OK); }};
  // A loop that is stopping has no leases left: released.
  if (!loop_.PostAlways(std::move(command))) reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<v1::DecodeServiceGenerateResponse>* DecodeServiceImpl::Generate(
    grpc::CallbackServerContext* context, const v1::DecodeServiceGenerateRequest* request) {
  RequestLine line(request->request_id(), TraceOf(context->client_metadata()).id());
  auto* stream = new GenerateStream(options_.stream_tokens_max, std::move(line),
                                    [this](const AnswerSink* cancelled) {
                                      (void)loop_.PostAlways(CancelCommand{.sink = cancelled});
                                    });
  // Admitted by its reservation: the queue's bound is not for it.
  if (!loop_.PostAlways(GenerateCommand{.request = *request, .sink = stream})) {
    stream->Close(LoopGone());
  }
  return stream;
}

grpc::ServerBidiReactor<v1::LinkRequest, v1::LinkResponse>* DecodeServiceImpl::Link(
    grpc::CallbackServerContext* /*context*/) {
  Quota::Ticket ticket = loop_.links_quota().Take();
  if (ticket != nullptr) return new LinkReactor(loop_, next_link_++, std::move(ticket));
  return new Refused<grpc::ServerBidiReactor<v1::LinkRequest, v1::LinkResponse>>(
      TooMany("Link", loop_.links_quota()));
}

grpc::ServerReadReactor<v1::WriteKvRequest>* DecodeServiceImpl::WriteKv(
    grpc::CallbackServerContext* /*context*/, v1::WriteKvResponse* response) {
  Quota::Ticket ticket = loop_.write_kv_quota().Take();
  if (ticket != nullptr) return new WriteKvReactor(loop_, *response, std::move(ticket));
  return new Refused<grpc::ServerReadReactor<v1::WriteKvRequest>>(
      TooMany("WriteKv", loop_.write_kv_quota()));
}

}  // namespace tandem
