// SPDX-License-Identifier: Apache-2.0
#include "services/router/session.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/router/workers/give_back.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

// A decode worker answers Reserve within a step; one that does not hangs. Reserve is never
// cancelled: the grant might be on its way, and would then be lost until its lease expires.
constexpr absl::Duration kReserveTimeout = absl::Seconds(5);
// So long it is still listened to after the request's deadline, for the same reason.
constexpr absl::Duration kReserveGrace = absl::Seconds(1);
// Of one request: a worker that drains says so in its state as well, but that may be behind.
constexpr int kPlacesMax = 4;

// A worker's own errors pass as they are; that it is gone, or that time is, is ours to say.
absl::Status Explain(const absl::Status& status, absl::string_view stage,
                     absl::string_view endpoint) {
  if (status.ok() || !ReasonOf(status).empty()) return status;
  if (status.code() == absl::StatusCode::kDeadlineExceeded) return DeadlinePassed(stage);
  const bool lost = status.code() == absl::StatusCode::kUnavailable ||
                    status.code() == absl::StatusCode::kCancelled;
  if (!lost) return status;
  return WorkerLost(
      {.message = absl::StrCat("lost ", endpoint, " in ", stage, ": ", status.message())});
}

}  // namespace

class Session::ReserveCall {
 public:
  explicit ReserveCall(Session* session) : session_(session) {}

  void Start(absl::Time deadline) {
    const SessionOptions& options = session_->options_;
    request_.set_request_id(options.request_id);
    request_.set_tokens(static_cast<uint32_t>(options.prompt.size()) + options.tokens_max);
    SetDeadline(context_, deadline);
    SetTrace(options.trace, context_);
    session_->workers_->decode().decode().async()->Reserve(
        &context_, &request_, &response_, [this](const grpc::Status& status) {
          session_->strand_.Post([session = session_, status = FromGrpcStatus(status),
                                  response = response_] { session->OnReserve(status, response); });
        });
  }

 private:
  Session* const session_;
  grpc::ClientContext context_;
  v1::ReserveRequest request_;
  v1::ReserveResponse response_;
};

// One server stream, read as it comes.
template <typename Response>
class Session::Reading final : public grpc::ClientReadReactor<Response> {
 public:
  struct Handlers {
    void (Session::*message)(Response&);
    void (Session::*over)(const absl::Status&);
  };
  Reading(Session* session, const Handlers& handlers) : session_(session), handlers_(handlers) {
    SetDeadline(context_, session->options_.deadline);
    SetTrace(session->options_.trace, context_);
  }

  grpc::ClientContext* context() { return &context_; }
  void Start() {
    this->StartRead(&response_);
    this->StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    Response response;
    {
      // gRPC orders one read after another, but not so that TSan could see it.
      absl::MutexLock lock(&mutex_);
      response.Swap(&response_);
    }
    session_->strand_.Post(
        [session = session_, handler = handlers_.message,
         response = std::move(response)]() mutable { (session->*handler)(response); });
    this->StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    session_->strand_.Post([session = session_, handler = handlers_.over,
                            status = FromGrpcStatus(status)] { (session->*handler)(status); });
  }

 private:
  Session* const session_;
  const Handlers handlers_;
  grpc::ClientContext context_;
  absl::Mutex mutex_;
  Response response_;
};

// The answer as parts of the worker's feed, and the call that ends with it. Runs on the strand but
// for what the feed and gRPC call, which post.
class Session::Answering final : public TokenReader {
 public:
  explicit Answering(Session* session)
      : session_(session), feed_(session->workers_->decode().tokens()) {
    SetDeadline(context_, session->options_.deadline);
    SetTrace(session->options_.trace, context_);
  }

  // False: there is no feed.
  bool Start(v1::DecodeServiceGenerateRequest& generate) {
    const std::optional<TokenFeed::Place> place = feed_.Join(*this);
    if (!place.has_value()) return false;
    answer_ = place->answer;
    request_.mutable_request()->Swap(&generate);
    request_.set_stream(place->stream);
    request_.set_answer(place->answer);
    feed_.stub().async()->Answer(
        &context_, &request_, &response_, [this](const grpc::Status& status) {
          session_->strand_.Post([this, status = FromGrpcStatus(status), response = response_] {
            end_ = status;
            parts_sent_ = response.parts();
            session_->OnAnswering();
          });
        });
    return true;
  }
  void Cancel() { context_.TryCancel(); }

  // The call's status, once every part has come, or nobody wants them.
  std::optional<absl::Status> Over() {
    if (!end_.has_value()) return std::nullopt;
    if (end_->ok() && !session_->over_ && parts_ < parts_sent_) return std::nullopt;
    feed_.Leave(answer_);  // before promises are counted: none is made after it
    return promises_ == 0 ? end_ : std::nullopt;
  }

 private:
  void Promise() override { ++promises_; }
  void OnPart(v1::DecodeServiceGenerateResponse part) override {
    session_->strand_.Post([this, part = std::move(part)]() mutable {
      --promises_;
      ++parts_;
      session_->OnGenerate(part);
      session_->OnAnswering();
    });
  }
  void OnFeedLost() override {
    session_->strand_.Post([this] {
      --promises_;
      // What has come may have been all of it.
      const bool whole = end_.has_value() && parts_ >= parts_sent_;
      if (!whole) {
        session_->Fail(
            WorkerLost({.message = absl::StrCat("lost the tokens of ",
                                                session_->workers_->decode().endpoint())}));
      }
      session_->OnAnswering();
    });
  }

  Session* const session_;
  TokenFeed& feed_;
  grpc::ClientContext context_;
  v1::AnswerRequest request_;
  v1::AnswerResponse response_;
  uint64_t answer_ = 0;
  std::atomic<int> promises_ = 0;  // made and not yet kept
  uint32_t parts_ = 0;
  uint32_t parts_sent_ = 0;
  std::optional<absl::Status> end_;  // of the call
};

Session::Session(SessionOptions options, Strand& strand, std::function<void(SessionEvent)> on_event)
    : workers_(std::move(options.workers)),
      options_(std::move(options)),
      strand_(strand),
      on_event_(std::move(on_event)) {}

Session::~Session() {
  CHECK(!Running());
}

bool Session::Running() const {
  return reserve_ != nullptr || prefill_ != nullptr || generate_ != nullptr ||
         answering_ != nullptr;
}

void Session::Reserve() {
  if (over_) return MaybeEnd();
  reserve_ = std::make_unique<ReserveCall>(this);
  reserve_->Start(
      std::min(options_.deadline + kReserveGrace, Clock::Real().Now() + kReserveTimeout));
}

void Session::OnReserve(const absl::Status& status, const v1::ReserveResponse& response) {
  reserve_.reset();
  if (ReasonOf(status) == "KV_BUDGET") workers_->Refused();
  if (places_ > 1) on_event_(Retried{.prefill = !lost_.ok(), .ok = status.ok()});
  if (ReasonOf(status) == "DRAINING" && !over_ && PlaceAnew()) return Reserve();
  if (status.ok()) {
    reservation_ = response.reservation();
    granted_ = true;
    workers_->Granted();
  } else if (!lost_.ok()) {
    Fail(lost_);  // what happened first: the client was told already that there is room
  } else if (status.code() == absl::StatusCode::kDeadlineExceeded &&
             Clock::Real().Now() < options_.deadline) {
    Fail(WorkerLost(
        {.message = absl::StrCat(workers_->decode().endpoint(), " did not answer Reserve within ",
                                 absl::FormatDuration(kReserveTimeout))}));
  } else {
    Fail(Explain(status, "reserve", workers_->decode().endpoint()));
  }
  if (over_) return MaybeEnd();
  if (!lost_.ok()) return Prefill();
  on_event_(Reserved{});
}

// Nothing has begun, so the client need not hear of it.
bool Session::PlaceAnew() {
  workers_->Draining();
  std::unique_ptr<Assignment> other = OtherPlace();
  if (other == nullptr) return false;
  workers_ = std::move(other);
  return true;
}

std::unique_ptr<Assignment> Session::OtherPlace() {
  if (++places_ > kPlacesMax) return nullptr;
  absl::StatusOr<std::unique_ptr<Assignment>> other = options_.assign();
  return other.ok() ? *std::move(other) : nullptr;
}

void Session::Prefill() {
  if (over_) return MaybeEnd();
  v1::PrefillRequest request;
  request.set_request_id(options_.request_id);
  request.mutable_token_ids()->Add(options_.prompt.begin(), options_.prompt.end());
  *request.mutable_sampling() = options_.sampling;
  request.set_prompt_logprobs(options_.prompt_logprobs);
  *request.mutable_reservation() = reservation_;
  prefill_ = std::make_unique<Reading<v1::PrefillResponse>>(
      this, Reading<v1::PrefillResponse>::Handlers{&Session::OnPrefill, &Session::OnPrefillOver});
  // The request is serialised before this returns.
  workers_->prefill().prefill().async()->Prefill(prefill_->context(), &request, prefill_.get());
  prefill_->Start();
}

void Session::OnPrefill(v1::PrefillResponse& response) {
  if (over_ || prefilled_) return;
  if (response.has_progress()) return on_event_(Progress{.tokens = response.progress().tokens()});
  if (!response.has_done()) return;
  prefilled_ = true;
  workers_->PromptRead();
  first_token_ = response.done().first().id();
  on_event_(Prefilled{.done = std::move(*response.mutable_done())});
}

void Session::OnPrefillOver(const absl::Status& status) {
  prefill_.reset();
  if (prefilled_ || over_) return MaybeEnd();
  if (status.ok()) {
    return Fail(absl::InternalError(
        absl::StrCat(workers_->prefill().endpoint(), " ended Prefill without a first token")));
  }
  const absl::Status why = Explain(status, "prefill", workers_->prefill().endpoint());
  if (ReadElsewhere(status, why)) return Reserve();
  Fail(why);
}

// No token has come, so the client need not hear of it. Once: a prompt that ends workers shall not
// end them all.
bool Session::ReadElsewhere(const absl::Status& status, const absl::Status& why) {
  if (ReasonOf(why) != "WORKER_LOST" && ReasonOf(why) != "DRAINING") return false;
  // One that says why it ends a call is there, and may have lost its decode worker.
  if (ReasonOf(status) != "WORKER_LOST") workers_->PrefillGone();
  if (!lost_.ok() || Clock::Real().Now() >= options_.deadline) return false;
  std::unique_ptr<Assignment> other = OtherPlace();
  if (other == nullptr) return false;
  lost_ = why;
  granted_ = false;
  GiveBack(std::exchange(workers_, std::move(other)), reservation_);
  return true;
}

void Session::Generate() {
  CHECK(prefilled_);
  if (over_) return MaybeEnd();
  v1::DecodeServiceGenerateRequest request;
  request.set_request_id(options_.request_id);
  *request.mutable_reservation() = reservation_;
  request.set_prompt_tokens(static_cast<uint32_t>(options_.prompt.size()));
  if (options_.sampling.repetition_penalty() != 1) {
    request.mutable_prompt_token_ids()->Add(options_.prompt.begin(), options_.prompt.end());
  }
  request.set_first_token(first_token_);
  *request.mutable_sampling() = options_.sampling;
  request.set_max_tokens(options_.tokens_max);
  request.mutable_stop_token_ids()->Add(options_.stop_token_ids.begin(),
                                        options_.stop_token_ids.end());
  answering_ = std::make_unique<Answering>(this);
  if (answering_->Start(request)) return;
  answering_.reset();
  // An older worker, or the feed is about to stand.
  using Call = Reading<v1::DecodeServiceGenerateResponse>;
  generate_ =
      std::make_unique<Call>(this, Call::Handlers{&Session::OnGenerate, &Session::OnGenerateOver});
  workers_->decode().decode().async()->Generate(generate_->context(), &request, generate_.get());
  generate_->Start();
}

void Session::OnGenerate(v1::DecodeServiceGenerateResponse& response) {
  if (over_) return;
  reasoned_ = reasoned_ || response.reason() != v1::FINISH_REASON_UNSPECIFIED;
  // Tokens prove that the reservation is committed: it ends with the call.
  if (!response.tokens().empty() || reasoned_) granted_ = false;
  on_event_(Generated{.tokens = std::move(response)});
}

void Session::OnGenerateOver(const absl::Status& status) {
  generate_.reset();
  if (!over_ && !status.ok()) {
    Fail(Explain(status, "decode", workers_->decode().endpoint()));
  } else if (!over_ && !reasoned_) {
    Fail(absl::InternalError(
        absl::StrCat(workers_->decode().endpoint(), " ended Generate without a reason")));
  }
  over_ = true;
  MaybeEnd();
}

void Session::OnAnswering() {
  if (answering_ == nullptr) return;
  if (const std::optional<absl::Status> status = answering_->Over(); status.has_value()) {
    answering_.reset();
    return OnGenerateOver(*status);
  }
}

void Session::Fail(absl::Status status) {
  if (!over_) status_ = std::move(status);
  Stop();
}

void Session::Stop() {
  if (!std::exchange(over_, true)) {
    if (prefill_ != nullptr) prefill_->context()->TryCancel();
    if (generate_ != nullptr) generate_->context()->TryCancel();
    if (answering_ != nullptr) answering_->Cancel();
  }
  MaybeEnd();
}

void Session::MaybeEnd() {
  if (!over_ || ended_ || Running()) return;
  ended_ = true;
  // After the prefill call is over: the decode worker revokes what may still be written.
  if (granted_) GiveBack(std::move(workers_), reservation_);
  on_event_(Ended{.status = status_});
}

}  // namespace tandem
