// SPDX-License-Identifier: Apache-2.0
#include "services/router/generate_reactor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/random.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

absl::Time Now() {
  return Clock::Real().Now();
}

std::string RandomHex() {
  return absl::StrCat(absl::Hex(RandomId(), absl::kZeroPad16));
}

AnswerForm FormOf(const v1::GenerateRequest& request) {
  if (!request.has_chat()) return AnswerForm::kPlain;
  return request.thinking() == v1::THINKING_ON ? AnswerForm::kThinking : AnswerForm::kChat;
}

}  // namespace

GenerateReactor::GenerateReactor(const RouterParts& parts, grpc::CallbackServerContext* context,
                                 const v1::GenerateRequest* request)
    : StreamWriter(size_t{parts.config.stream_tokens_max()} *
                   std::clamp(ChoicesOf(*request), 1U, 64U)),
      parts_(parts),
      request_(*request),
      authorization_(AuthorizationOf(*context)),
      arrival_(Now()),
      deadline_(std::min(DeadlineOf(context->deadline()),
                         arrival_ + FromProto(parts.config.deadline_max()))),
      trace_(TraceOf(context->client_metadata())),
      last_sent_(arrival_) {
  strand_.Post([this] { Begin(); });
}

size_t GenerateReactor::Weight(const v1::GenerateResponse& message) const {
  return message.has_delta() ? message.delta().token_ids_size() : 0;
}

bool GenerateReactor::Coalesce(v1::GenerateResponse& last, v1::GenerateResponse& next) {
  if (next.has_heartbeat()) return true;  // What waits already shows life.
  if (!last.has_delta() || !next.has_delta()) return false;
  if (last.delta().choice() != next.delta().choice()) return false;
  Join(*last.mutable_delta(), *next.mutable_delta());
  return true;
}

void GenerateReactor::OnCancelled() {
  // OnFinished posts as well, and is not called before this returns: it comes later.
  strand_.Post([this] {
    EndAll(absl::CancelledError("the client has cancelled"), v1::FINISH_REASON_CANCELLED);
  });
}

void GenerateReactor::OnFinished() {
  // Not on the strand: it may outlive the metrics, which wait for the call alone. What is read here
  // does not change after Close.
  if (accepted_ && code() == absl::StatusCode::kOk) {
    parts_.metrics.stages.send.Observe(absl::ToDoubleSeconds(Now() - closed_at_));
  }
  strand_.PostLast([this] { delete this; });
}

void GenerateReactor::Begin() {
  absl::Status status;
  if (parts_.keys != nullptr) status = parts_.keys->Admit(authorization_, key_name_);
  if (status.ok()) status = ValidateRequest(request_, parts_.Limits());
  if (status.ok()) status = Admit();
  // Before any work: under overload most requests end here.
  if (status.ok() && parts_.workers.Full(TokensAtLeast(request_))) status = DecodeFull();
  if (status.ok()) status = MakeChoices();
  if (!status.ok()) return EndAll(std::move(status), v1::FINISH_REASON_ERROR);
  ArmTimer();
  const absl::Time now = Now();
  for (const auto& choice : choices_) {
    choice->report->OnPlaced({.render = prompt_.rendering, .route = now - tokenized_}, now);
    choice->session->Reserve();
  }
}

absl::Status GenerateReactor::Admit() {
  id_ = request_.request_id().empty() ? RandomHex() + RandomHex() : request_.request_id();
  const RequestHooks hooks = {.pin = [this] { ++pending_; },
                              .cancel =
                                  [this] {
                                    strand_.Post([this] {
                                      --pending_;
                                      EndAll(absl::OkStatus(), v1::FINISH_REASON_CANCELLED);
                                    });
                                  }};
  RETURN_IF_ERROR(parts_.requests.Add({.key = key_name_, .id = id_}, hooks));
  admitted_ = true;
  parts_.metrics.queue_requests.Increment();
  return absl::OkStatus();
}

absl::StatusOr<Prompt> GenerateReactor::Tokenize() const {
  if (request_.has_text()) return parts_.model.FromText(request_.text());
  if (request_.has_chat()) {
    return parts_.model.FromChat({.chat = request_.chat(),
                                  .thinking = request_.thinking(),
                                  .effort = request_.reasoning_effort()});
  }
  if (request_.stop_size() > 0) RETURN_IF_ERROR(parts_.model.NeedTokenizer("stop"));
  const auto& ids = request_.token_ids().ids();
  return Prompt{
      .text = "", .token_ids = std::vector<uint32_t>(ids.begin(), ids.end()), .rendering = {}};
}

absl::Status GenerateReactor::MakeChoices() {
  ASSIGN_OR_RETURN(prompt_, Tokenize());
  prompt_.text.clear();
  ASSIGN_OR_RETURN(tokens_max_,
                   AnswerTokensMax(request_, prompt_.token_ids.size(), parts_.Limits()));
  tokenized_ = Now();
  if (tokenized_ >= deadline_) return DeadlinePassed("tokenize");
  v1::SamplingParams sampling = ResolveSampling(
      request_,
      {.temperature = parts_.model.default_temperature(), .top_p = parts_.model.default_top_p()});
  const uint64_t seed = request_.sampling().has_seed() ? request_.sampling().seed() : RandomId();
  for (uint32_t i = 0; i < ChoicesOf(request_); ++i) {
    sampling.set_seed(seed + i);
    auto choice = std::make_unique<Choice>();
    ASSIGN_OR_RETURN(choice->session, MakeSession(i, sampling));
    choice->answer = std::make_unique<Answer>(
        AnswerOptions{.tokenizer = parts_.model.tokenizer(),
                      .choice = i,
                      .form = FormOf(request_),
                      .stop_token_ids = StopIdsOf(request_, parts_.model.eos_token_id()),
                      .stop = {request_.stop().begin(), request_.stop().end()},
                      .tokens_max = tokens_max_,
                      .stream_interval = request_.stream_interval(),
                      .logprobs = request_.has_logprobs(),
                      .tool_call_prefix = absl::StrCat("call_", RandomHex(), "_")});
    choice->report = std::make_unique<ChoiceReport>(parts_.metrics, arrival_);
    choices_.push_back(std::move(choice));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Session>> GenerateReactor::MakeSession(
    uint32_t index, const v1::SamplingParams& sampling) {
  const auto prompt = static_cast<uint32_t>(prompt_.token_ids.size());
  const RequestTokens tokens = {.prompt = prompt, .all = prompt + tokens_max_};
  const auto assign = [this, tokens] { return parts_.workers.Assign(tokens); };
  ASSIGN_OR_RETURN(std::unique_ptr<Assignment> workers, assign());
  return std::make_unique<Session>(
      SessionOptions{.request_id = index == 0 ? id_ : absl::StrCat(id_, "/", index),
                     .prompt = prompt_.token_ids,
                     .sampling = sampling,
                     .prompt_logprobs = request_.prompt_logprobs() && index == 0,
                     .tokens_max = tokens_max_,
                     .stop_token_ids = StopIdsOf(request_, parts_.model.eos_token_id()),
                     .deadline = deadline_,
                     .trace = trace_,
                     .workers = std::move(workers),
                     .assign = assign},
      strand_, [this, index](SessionEvent event) { OnSession(index, std::move(event)); });
}

void GenerateReactor::OnSession(uint32_t index, SessionEvent event) {
  Choice& choice = *choices_[index];
  if (std::holds_alternative<Reserved>(event)) OnReserved(choice);
  if (const auto* retried = std::get_if<Retried>(&event)) {
    parts_.metrics.CountRetry({.prefill = retried->prefill, .ok = retried->ok});
  }
  if (const auto* progress = std::get_if<Progress>(&event)) {
    choice.prefilled_tokens = progress->tokens;
  }
  if (const auto* prefilled = std::get_if<Prefilled>(&event)) OnPrefilled(choice, prefilled->done);
  if (const auto* generated = std::get_if<Generated>(&event)) {
    OnGenerated(choice, generated->tokens);
  }
  if (const auto* ended = std::get_if<Ended>(&event)) OnEnded(index, ended->status);
}

void GenerateReactor::OnReserved(Choice& choice) {
  choice.report->OnReserved(Now());
  // Work begins when all choices have their memory: nobody hears "accepted" and then "no room".
  if (++reserved_ < choices_.size()) return;
  v1::GenerateResponse message;
  message.mutable_accepted()->set_request_id(id_);
  message.mutable_accepted()->set_prompt_tokens(static_cast<uint32_t>(prompt_.token_ids.size()));
  accepted_ = true;
  Send(std::move(message), Now());
  parts_.metrics.prompt_tokens.Observe(static_cast<double>(prompt_.token_ids.size()));
  parts_.metrics.params_n.Observe(static_cast<double>(choices_.size()));
  parts_.metrics.params_max_tokens.Observe(tokens_max_);
  for (const auto& each : choices_) {
    each->report->OnPrefillBegins();
    each->session->Prefill();
  }
}

template <typename Tokens>
void GenerateReactor::Read(Choice& choice, const Tokens& tokens) {
  const absl::Time begin = Now();
  for (const v1::SampledToken& token : tokens) choice.answer->Push(token);
  choice.report->OnRead(Now() - begin);
}

void GenerateReactor::OnPrefilled(Choice& choice, const v1::PrefillDone& done) {
  choice.prefilled_tokens = static_cast<uint32_t>(prompt_.token_ids.size());
  choice.report->OnPrefilled(done, Now());
  if (!done.prompt_logprobs().empty()) choice.answer->SetPromptLogprobs(done.prompt_logprobs());
  Read(choice, absl::MakeConstSpan(&done.first(), 1));
  if (!choice.answer->finished().has_value()) choice.session->Generate();
  Deliver(choice);
}

void GenerateReactor::OnGenerated(Choice& choice,
                                  const v1::DecodeServiceGenerateResponse& message) {
  if (message.has_queue()) choice.report->OnDecodeBegins(FromProto(message.queue()));
  Read(choice, message.tokens());
  Deliver(choice);
}

void GenerateReactor::Deliver(Choice& choice) {
  if (choice.answer->Ready()) {
    const absl::Time now = Now();
    choice.report->OnDelta(now);
    v1::GenerateResponse message;
    *message.mutable_delta() = choice.answer->Take();
    Send(std::move(message), now);
  }
  if (choice.answer->finished().has_value()) choice.session->Stop();
}

void GenerateReactor::Send(v1::GenerateResponse message, absl::Time now) {
  last_sent_ = now;
  if (closed_ || Write(std::move(message))) return;
  // A client that is gone is told apart by OnCancelled, which comes too: nobody reads this status
  // then.
  EndAll(SlowReader(
             {.message = absl::StrCat("the client is more than ", parts_.config.stream_tokens_max(),
                                      " tokens a choice behind")}),
         v1::FINISH_REASON_ERROR);
}

void GenerateReactor::OnEnded(uint32_t index, const absl::Status& status) {
  Choice& choice = *choices_[index];
  choice.ended = true;
  // A worker that fails after the answer is complete has nothing left to spoil.
  if (!status.ok() && !choice.answer->finished().has_value()) {
    const bool late = status.code() == absl::StatusCode::kDeadlineExceeded;
    EndAll(status, late ? v1::FINISH_REASON_DEADLINE : v1::FINISH_REASON_ERROR);
  } else if (!end_reason_.has_value() && !choice.answer->finished().has_value()) {
    EndAll(absl::InternalError("the decode worker ended an answer before its end"),
           v1::FINISH_REASON_ERROR);
  }
  if (accepted_) SendFinished(index);
  MaybeClose();
}

void GenerateReactor::EndAll(absl::Status status, v1::FinishReason reason) {
  if (!end_reason_.has_value()) {
    end_reason_ = reason;
    end_status_ = std::move(status);
    // Before anything was accepted there is no choice to finish: the status alone tells.
    if (reason == v1::FINISH_REASON_CANCELLED && !accepted_ && end_status_.ok()) {
      end_status_ = absl::CancelledError("the request was cancelled by its id");
    }
  }
  for (const auto& choice : choices_) choice->session->Stop();
  MaybeClose();
}

void GenerateReactor::MaybeClose() {
  if (closed_) return;
  const auto ended = [](const std::unique_ptr<Choice>& choice) { return choice->ended; };
  if (!std::all_of(choices_.begin(), choices_.end(), ended)) return;
  if (timer_ != nullptr) timer_->Cancel();
  if (std::exchange(admitted_, false)) {
    parts_.requests.Remove({.key = key_name_, .id = id_});
    parts_.metrics.queue_requests.Decrement();
  }
  if (pending_ > 0) return;
  closed_ = true;
  closed_at_ = Now();
  Log();
  if (ReasonOf(end_status_) == "SLOW_READER") return CloseNow(end_status_);
  Close(end_status_);
}

void GenerateReactor::SendFinished(uint32_t index) {
  Choice& choice = *choices_[index];
  choice.answer->Finish();
  Deliver(choice);
  v1::GenerateResponse message;
  v1::Finished& finished = *message.mutable_finished();
  finished.set_choice(index);
  finished.set_reason(choice.answer->finished().has_value() ? *choice.answer->finished()
                                                            : *end_reason_);
  const uint32_t tokens = choice.answer->completion_tokens();
  finished.mutable_usage()->set_prompt_tokens(static_cast<uint32_t>(prompt_.token_ids.size()));
  finished.mutable_usage()->set_completion_tokens(tokens);
  finished.mutable_usage()->set_reasoning_tokens(choice.answer->reasoning_tokens());
  const absl::Time now = Now();
  *finished.mutable_timing() = choice.report->OnEnded(*choice.answer, finished.reason(), now);
  finished.set_stop_text(choice.answer->stop_text());
  Send(std::move(message), now);
}

void GenerateReactor::ArmTimer() {
  ++pending_;
  const absl::Time beat = last_sent_ + FromProto(parts_.config.heartbeat_interval());
  const absl::Duration wait = std::max(absl::ZeroDuration(), std::min(deadline_, beat) - Now());
  // A new one each time: the old one may still be in its callback.
  timer_ = std::make_unique<grpc::Alarm>();
  timer_->Set(absl::ToChronoTime(absl::Now() + wait), [this](bool) {
    strand_.Post([this] {
      --pending_;
      OnTimer();
    });
  });
}

void GenerateReactor::OnTimer() {
  const bool running = std::any_of(choices_.begin(), choices_.end(),
                                   [](const auto& choice) { return !choice->ended; });
  if (!running) return MaybeClose();
  if (Now() >= deadline_ && !end_reason_.has_value()) {
    const auto waiting = std::find_if(choices_.begin(), choices_.end(),
                                      [](const auto& choice) { return !choice->ended; });
    return EndAll(DeadlinePassed((*waiting)->report->stage_name()), v1::FINISH_REASON_DEADLINE);
  }
  if (end_reason_.has_value()) return;  // Cancelled calls are on their way back.
  if (Now() >= last_sent_ + FromProto(parts_.config.heartbeat_interval())) SendHeartbeat();
  ArmTimer();
}

void GenerateReactor::SendHeartbeat() {
  if (!accepted_) {
    last_sent_ = Now();  // "accepted" comes first: nothing can be said yet.
    return;
  }
  const auto behind = std::min_element(
      choices_.begin(), choices_.end(),
      [](const auto& a, const auto& b) { return a->prefilled_tokens < b->prefilled_tokens; });
  v1::GenerateResponse message;
  message.mutable_heartbeat()->set_stage((*behind)->report->stage());
  message.mutable_heartbeat()->set_prefilled_tokens((*behind)->prefilled_tokens);
  Send(std::move(message), Now());
}

void GenerateReactor::Log() const {
  uint64_t completion = 0;
  uint64_t read = 0;
  v1::FinishReason reason = end_reason_.value_or(v1::FINISH_REASON_STOP);
  for (const auto& choice : choices_) {
    completion += choice->answer->completion_tokens();
    read += choice->prefilled_tokens;
    if (!end_reason_.has_value()) reason = *choice->answer->finished();
  }
  const std::string outcome = OutcomeOf(end_status_, reason);
  const std::string code = absl::StatusCodeToString(end_status_.code());
  const std::string why = ReasonOf(end_status_);
  parts_.metrics.CountRequest({.outcome = outcome, .code = code, .tenant = key_name_});
  // A worker without room, or with too long a queue, refuses as well, before any work.
  const bool refused = choices_.empty() || (read == 0 && outcome == "rejected");
  if (refused && !end_status_.ok()) parts_.metrics.CountRejected(why.empty() ? code : why);
  if (why == "SLOW_READER") parts_.metrics.slow_reader_aborts.Increment();
  LogInfo("request", {{"id", id_},
                      OptionalField("trace_id", trace_.id()),
                      {"outcome", outcome},
                      {"code", code},
                      {"reason", why},
                      {"prompt_tokens", prompt_.token_ids.size()},
                      {"completion_tokens", completion},
                      {"choices", choices_.size()},
                      {"key", key_name_},
                      {"seconds", absl::ToDoubleSeconds(Now() - arrival_)}});
}

}  // namespace tandem
