// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/drive/load_stream.h"

#include <algorithm>
#include <utility>

#include "services/runtime/base/clock.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/rpc/status.h"
#include "services/tools/client.h"
#include "services/tools/load/drive/expectation.h"

namespace tandem {
namespace {

constexpr absl::Duration kAbsurdTimeout = absl::Milliseconds(1);

RequestKind KindOf(const PlannedRequest& planned, bool checked) {
  if (planned.nasty.has_value()) return KindOf(*planned.nasty);
  if (planned.golden.has_value()) return RequestKind::kGolden;
  return checked ? RequestKind::kSentinel : RequestKind::kNormal;
}

bool ActsInTheAnswer(Nasty nasty) {
  return nasty == Nasty::kCancelMidway || nasty == Nasty::kCancelById || nasty == Nasty::kVanish;
}

// After at least one token and, where there are two, before the last one.
uint32_t ActAt(const PlannedRequest& planned) {
  if (!planned.nasty.has_value() || !ActsInTheAnswer(*planned.nasty)) return 1;
  const uint32_t places = std::max<uint32_t>(planned.output_tokens, 2) - 1;
  return 1 + static_cast<uint32_t>(planned.whim * places);
}

}  // namespace

LoadStream::LoadStream(const StreamParts& parts, StreamSpec spec)
    : parts_(parts),
      spec_(std::move(spec)),
      measured_(!spec_.warm_up && !spec_.planned.nasty.has_value()),
      act_at_(ActAt(spec_.planned)),
      slow_(spec_.planned.nasty == Nasty::kSlow) {
  record_.kind = KindOf(spec_.planned, spec_.check.has_value());
  record_.warm_up = spec_.warm_up;
  record_.prompt_tokens = static_cast<uint32_t>(spec_.request.token_ids().ids_size());
  record_.tokens_wanted = spec_.request.max_tokens();
}

absl::Duration LoadStream::Now() const {
  return Clock::Real().Now() - parts_.start;
}

void LoadStream::Start(v1::InferenceService::Stub& stub) {
  const bool absurd = spec_.planned.nasty == Nasty::kAbsurd;
  SetDeadline(context_, Clock::Real().Now() + (absurd ? kAbsurdTimeout : spec_.timeout));
  parts_.connection.Authorize(context_);
  v1::InferenceService::Stub& used = spec_.own != nullptr ? spec_.own->stub() : stub;
  used.async()->Generate(&context_, &spec_.request, this);
  if (slow_) AddHold();  // The driver's thread starts its reads.
  StartRead(&event_);
  record_.sent = Now();
  record_.scheduled = spec_.scheduled.value_or(record_.sent);
  parts_.recorder.OnSend(record_.sent);
  const bool early = spec_.planned.nasty == Nasty::kCancelEarly;
  StartCall();
  if (early) context_.TryCancel();
}

void LoadStream::Fail(absl::string_view check) {
  auto& failed = record_.failed_checks;
  if (std::find(failed.begin(), failed.end(), check) == failed.end()) failed.emplace_back(check);
}

void LoadStream::OnReadDone(bool ok) {
  if (!ok) {
    if (slow_) RemoveHold();
    return;
  }
  const absl::Duration now = Now();
  switch (event_.event_case()) {
    case v1::GenerateResponse::kAccepted:
      OnAccepted(now);
      break;
    case v1::GenerateResponse::kDelta:
      OnDelta(event_.delta(), now);
      break;
    case v1::GenerateResponse::kFinished:
      OnFinished(event_.finished());
      break;
    case v1::GenerateResponse::kHeartbeat:
      break;
    case v1::GenerateResponse::EVENT_NOT_SET:
      Fail("event");
  }
  if (slow_) {
    Tell(Tidings::kReadLater);
  } else {
    StartRead(&event_);
  }
}

void LoadStream::OnAccepted(absl::Duration now) {
  if (record_.accepted.has_value() ||
      event_.accepted().request_id() != spec_.request.request_id() ||
      event_.accepted().prompt_tokens() != record_.prompt_tokens) {
    Fail("accepted");
  }
  record_.accepted = now;
  // A long prompt that nobody needs any more.
  if (!spec_.keep_answer && !spec_.planned.nasty.has_value()) spec_.request.clear_token_ids();
  if (spec_.planned.nasty == Nasty::kCancelQueued) context_.TryCancel();
}

void LoadStream::OnDelta(const v1::Delta& delta, absl::Duration now) {
  const auto tokens = static_cast<uint32_t>(delta.token_ids_size());
  // Of one completion, nothing is left out and nothing comes twice.
  if (!record_.accepted.has_value()) Fail("accepted");
  if (tokens == 0) return;
  if (delta.choice() != 0 || delta.first_index() != record_.tokens) Fail("index");
  if (spec_.check.has_value()) {
    const absl::string_view failed =
        spec_.check->Take({delta.token_ids().data(), static_cast<size_t>(tokens)});
    if (!failed.empty()) Fail(failed);
  }
  if (spec_.keep_answer) {
    answer_.insert(answer_.end(), delta.token_ids().begin(), delta.token_ids().end());
  }
  ChunkRecord chunk = {.at = now, .tokens = tokens, .measured = measured_};
  if (record_.last_token.has_value()) chunk.gap = now - *record_.last_token;
  parts_.recorder.OnChunk(chunk);
  if (!record_.first_token.has_value()) record_.first_token = now;
  record_.last_token = now;
  record_.tokens += tokens;
  if (!acted_ && spec_.planned.nasty.has_value() && record_.tokens >= act_at_) Misbehave();
}

void LoadStream::Misbehave() {
  acted_ = true;
  switch (*spec_.planned.nasty) {
    case Nasty::kCancelMidway:
      context_.TryCancel();
      break;
    case Nasty::kVanish:
      // Without a connection of its own, a vanishing client can only cancel.
      spec_.own != nullptr ? spec_.own->Cut() : context_.TryCancel();
      break;
    case Nasty::kCancelById:
      Tell(Tidings::kCancelById);
      break;
    case Nasty::kDuplicate:
      if (!spec_.twin_of.has_value()) Tell(Tidings::kStartTwin);
      break;
    case Nasty::kCancelEarly:
    case Nasty::kCancelQueued:
    case Nasty::kSlow:
    case Nasty::kAbsurd:
      break;
  }
}

void LoadStream::OnFinished(const v1::Finished& finished) {
  ++finished_;
  counted_tokens_ = finished.usage().completion_tokens();
  record_.finish_reason = NameOf(finished.reason());
  const v1::Timing& timing = finished.timing();
  record_.stages = StageTimes{.tokenize = FromProto(timing.tokenize()),
                              .reserve = FromProto(timing.reserve()),
                              .prefill_queue = FromProto(timing.prefill_queue()),
                              .prefill = FromProto(timing.prefill()),
                              .kv_transfer = FromProto(timing.kv_transfer()),
                              .decode = FromProto(timing.decode()),
                              .ttft = FromProto(timing.ttft()),
                              .total = FromProto(timing.total())};
}

void LoadStream::OnDone(const grpc::Status& status) {
  record_.end = Now();
  const absl::Status end = FromGrpcStatus(status);
  record_.code = end.code();
  record_.reason = ReasonOf(end);
  CheckEnd();
  Tell(Tidings::kEnded);  // Whoever reads this may delete the stream.
}

void LoadStream::CheckEnd() {
  // Order of tokens; an honest answer is also whole.
  record_.checks = 1;
  if (record_.code == absl::StatusCode::kOk) {
    ++record_.checks;
    if (finished_ != 1 || counted_tokens_ != record_.tokens) Fail("finished");
    const bool whole = record_.tokens == record_.tokens_wanted || !spec_.request.ignore_eos();
    if (!whole && record_.finish_reason != "cancelled") Fail("length");
  }
  if (spec_.check.has_value()) ++record_.checks;
  if (!spec_.planned.nasty.has_value()) return;
  ++record_.checks;
  if (!Fits({.nasty = *spec_.planned.nasty,
             .twin = spec_.twin_of.has_value(),
             .lost = parts_.loss_expected && IsLoss(record_.code, record_.reason),
             .code = record_.code})) {
    Fail("status");
  }
}

}  // namespace tandem
