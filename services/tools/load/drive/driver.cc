// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/drive/driver.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/rpc/channel.h"
#include "services/tools/load/drive/expectation.h"

namespace tandem {
namespace {

constexpr absl::Duration kSlowPause = absl::Milliseconds(100);
constexpr absl::Duration kCancelTimeout = absl::Seconds(10);
// How often an interrupt is looked for.
constexpr absl::Duration kLook = absl::Milliseconds(50);
// Between the end of a stream here and in the server, or the other way round.
constexpr absl::Duration kSameMoment = absl::Seconds(1);

std::string RandomTag() {
  absl::BitGen bits;
  return absl::StrCat(absl::Hex(absl::Uniform<uint32_t>(bits), absl::kZeroPad8));
}

}  // namespace

Driver::Driver(const DriveOptions& options, const DriveParts& parts, Plan plan)
    : options_(options),
      parts_(parts),
      tag_(RandomTag()),
      plan_(std::move(plan)),
      news_(std::numeric_limits<size_t>::max()) {
  if (plan_.spec().nasty_share == 0) return;
  if (const auto address = Address::Resolve(options.connection.channel.endpoint); address.ok())
    address_ = *address;
}

absl::Duration Driver::Now() const {
  return Clock::Real().Now() - parts_.start;
}

DriveOutcome Driver::Run() {
  while (true) {
    StartDue();
    if (OpenLoop()) Prepare();  // before it is due: building a long prompt takes time
    const bool more = !stopping_ && (prepared_.has_value() || !plan_over_);
    if (!more && streams_.empty() && conversations_ == 0) break;
    for (const News& news : news_.PopAll(UntilNext())) OnNews(news);
    RunTimers();
    if (parts_.interrupted) {
      outcome_.interrupted = true;
      Stop(/*cancel=*/true);
    }
    if (!OpenLoop() && Now() >= plan_.spec().until) Stop(/*cancel=*/false);
  }
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](int* calls) { return *calls == 0; }, &cancel_calls_));
  return outcome_;
}

void Driver::Prepare() {
  if (prepared_.has_value() || stopping_ || plan_over_) return;
  const auto planned = plan_.Next();
  plan_over_ = !planned.has_value();
  if (plan_over_) return;
  std::vector<uint32_t> prompt =
      planned->golden.has_value()
          ? parts_.goldens[*planned->golden].prompt
          : MakePrompt(planned->prompt, parts_.target.vocabulary, plan_.spec().seed);
  prepared_ = MakeSpec(*planned, std::move(prompt));
  prepared_->scheduled = planned->at;
}

StreamSpec Driver::MakeSpec(const PlannedRequest& planned, std::vector<uint32_t> prompt) const {
  StreamSpec spec = {.planned = planned,
                     .timeout = options_.timeout,
                     .keep_answer = planned.turn + 1 < planned.turns};
  if (planned.golden.has_value()) {
    spec.check = AnswerCheck::Known(parts_.goldens[*planned.golden]);
  } else if (options_.check_simulated) {
    spec.check = AnswerCheck::Simulated(prompt, parts_.target.eos_token_ids);
  }
  FillRequest(spec, std::move(prompt));
  if (planned.nasty == Nasty::kVanish && address_.has_value()) {
    auto own = CutConnection::Open(*address_);
    if (own.ok()) spec.own = *std::move(own);
  }
  return spec;
}

void Driver::FillRequest(StreamSpec& spec, std::vector<uint32_t> prompt) const {
  const bool golden = spec.planned.golden.has_value();
  v1::GenerateRequest& request = spec.request;
  request.set_request_id(absl::StrCat("load-", tag_, "-", spec.planned.index));
  request.mutable_token_ids()->mutable_ids()->Add(prompt.begin(), prompt.end());
  request.mutable_sampling()->set_temperature(golden ? 0 : options_.temperature);
  request.set_max_tokens(spec.planned.output_tokens);
  request.set_ignore_eos(golden || options_.ignore_eos);
  request.set_stream_interval(options_.stream_interval);
}

bool Driver::PlaceFree() const {
  if (!OpenLoop()) return conversations_ < options_.concurrency;
  return streams_.size() < options_.inflight_max;
}

void Driver::StartDue() {
  while (!stopping_ && PlaceFree()) {
    Prepare();
    if (!prepared_.has_value()) return;
    if (prepared_->scheduled.has_value() && *prepared_->scheduled > Now()) return;
    ++conversations_;
    StreamSpec spec = *std::move(prepared_);
    prepared_.reset();
    Launch(std::move(spec));
  }
}

void Driver::Launch(StreamSpec spec) {
  spec.id = next_stream_++;
  spec.warm_up = spec.planned.index < options_.warmup_requests ||
                 spec.scheduled.value_or(Now()) < options_.warmup;
  auto stream = std::make_unique<LoadStream>(StreamParts{.start = parts_.start,
                                                         .recorder = parts_.recorder,
                                                         .news = news_,
                                                         .connection = options_.connection,
                                                         .loss_expected = options_.loss_expected},
                                             std::move(spec));
  LoadStream& started = *stream;
  streams_.emplace(started.spec().id, std::move(stream));
  started.Start(parts_.channels.Next());
}

void Driver::OnNews(const News& news) {
  const auto it = streams_.find(news.stream);
  if (it == streams_.end()) return;
  LoadStream& stream = *it->second;
  switch (news.what) {
    case Tidings::kEnded:
      OnEnded(stream);
      streams_.erase(news.stream);
      break;
    case Tidings::kReadLater:
      After(Now() + kSlowPause, [this, id = news.stream] {
        const auto slow = streams_.find(id);
        if (slow != streams_.end()) slow->second->ReadOn();
      });
      break;
    case Tidings::kCancelById:
      CancelById(stream.spec().request.request_id());
      break;
    case Tidings::kStartTwin:
      if (!stopping_) StartTwin(stream);
      break;
  }
}

void Driver::OnEnded(LoadStream& stream) {
  const StreamSpec& spec = stream.spec();
  if (spec.twin_of.has_value()) {
    ForgiveTwin(stream);
    originals_.erase(*spec.twin_of);
  } else if (const auto original = originals_.find(spec.id); original != originals_.end()) {
    original->second = stream.record().end;
  }
  // What this run itself has cut short tells nothing.
  if (cancelled_) stream.record().warm_up = true;
  parts_.recorder.OnRequest(stream.record());
  Count(stream);
  if (spec.twin_of.has_value() || TakeNextTurn(stream)) return;
  --conversations_;
}

void Driver::ForgiveTwin(LoadStream& twin) {
  RequestRecord& record = twin.record();
  if (record.code != absl::StatusCode::kOk || !record.accepted.has_value()) return;
  const absl::Duration end = originals_.at(*twin.spec().twin_of);
  if (end > *record.accepted + kSameMoment) return;
  auto& failed = record.failed_checks;
  failed.erase(std::remove(failed.begin(), failed.end(), "status"), failed.end());
}

void Driver::Count(const LoadStream& stream) {
  if (stream.spec().planned.nasty.has_value() || cancelled_) return;
  const RequestRecord& record = stream.record();
  if (record.code == absl::StatusCode::kOk || IsOverload(record.code)) return;
  if (options_.loss_expected && IsLoss(record.code, record.reason)) return;
  ++outcome_.errors;
  if (options_.errors_max.has_value() && outcome_.errors > *options_.errors_max) {
    outcome_.too_many_errors = true;
    Stop(/*cancel=*/true);
  }
}

bool Driver::TakeNextTurn(const LoadStream& stream) {
  const StreamSpec& spec = stream.spec();
  const bool answered = stream.record().code == absl::StatusCode::kOk;
  if (stopping_ || !answered || !spec.keep_answer) return false;
  const absl::Duration due = Now() + plan_.spec().think_time;
  if (due >= plan_.spec().until) return false;
  const auto planned = plan_.NextTurn(spec.planned);
  if (!planned.has_value()) return false;
  const auto& before = spec.request.token_ids().ids();
  std::vector<uint32_t> prompt(before.begin(), before.end());
  prompt.insert(prompt.end(), stream.answer().begin(), stream.answer().end());
  const std::vector<uint32_t> more =
      MakePrompt(planned->prompt, parts_.target.vocabulary, plan_.spec().seed);
  prompt.insert(prompt.end(), more.begin(), more.end());
  // The map's functions can be copied, a StreamSpec cannot: it is made when it is due.
  After(due, [this, due, planned = *planned, prompt = std::move(prompt)] {
    if (stopping_) {
      --conversations_;
      return;
    }
    StreamSpec next = MakeSpec(planned, prompt);
    next.scheduled = due;
    Launch(std::move(next));
  });
  return true;
}

void Driver::StartTwin(const LoadStream& original) {
  StreamSpec twin = {.planned = original.spec().planned,
                     .request = original.spec().request,
                     .timeout = options_.timeout,
                     .twin_of = original.spec().id};
  originals_[original.spec().id] = absl::InfiniteDuration();
  Launch(std::move(twin));
}

void Driver::CancelById(const std::string& request_id) {
  struct Call {
    grpc::ClientContext context;
    v1::CancelRequest request;
    v1::CancelResponse response;
  };
  auto* call = new Call();
  call->request.set_request_id(request_id);
  options_.connection.Authorize(call->context);
  SetDeadline(call->context, Clock::Real().Now() + kCancelTimeout);
  {
    absl::MutexLock lock(&mutex_);
    ++cancel_calls_;
  }
  // Whether it was found tells nothing: the answer may have ended meanwhile.
  parts_.channels.Next().async()->Cancel(&call->context, &call->request, &call->response,
                                         [this, call](const grpc::Status&) {
                                           delete call;
                                           absl::MutexLock lock(&mutex_);
                                           --cancel_calls_;
                                         });
}

void Driver::Stop(bool cancel) {
  if (!stopping_) {
    stopping_ = true;
    // Nobody goes on thinking, and slow readers read once at once.
    const std::multimap<absl::Duration, std::function<void()>> timers = std::move(timers_);
    timers_.clear();
    for (const auto& [at, act] : timers) act();
  }
  if (!cancel || cancelled_) return;
  cancelled_ = true;
  for (const auto& [id, stream] : streams_) stream->Cancel();
}

void Driver::RunTimers() {
  while (!timers_.empty() && timers_.begin()->first <= Now()) {
    const std::function<void()> act = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    act();
  }
}

absl::Duration Driver::UntilNext() const {
  absl::Duration next = Now() + kLook;
  if (!timers_.empty()) next = std::min(next, timers_.begin()->first);
  if (prepared_.has_value() && !stopping_ && PlaceFree()) {
    next = std::min(next, prepared_->scheduled.value_or(absl::ZeroDuration()));
  }
  return std::max(absl::ZeroDuration(), next - Now());
}

}  // namespace tandem
