// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/router_actor.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tandem {

RouterActor::Session* RouterActor::Find(RequestUid uid) {
  const auto it = sessions_.find(uid);
  return it == sessions_.end() || it->second.outcome != nullptr ? nullptr : &it->second;
}

void RouterActor::HangUp(ConnectionId& call) {
  ground_.network.HangUp(std::exchange(call, 0), Side::kClient);
}

void RouterActor::Begin(const Request& request) {
  const RequestUid uid = request.uid;
  Session& session = sessions_[uid];
  session.request = request;
  session.reserve_deadline =
      std::min(request.deadline, ground_.clock.Now() + options_.reserve_timeout);
  DecodeActor* const decode = &options_.decode_at(request.decode);
  session.reserve = ground_.network.Connect(
      {.process = process(),
       .on_lost = [this, uid](ConnectionId) { OnReserved(uid, absl::UnavailableError("lost")); }},
      {.process = decode->process(), .on_lost = [](ConnectionId) {}});
  const SimReserve reserve{.request = uid,
                           .prompt_tokens = request.prompt_tokens,
                           .max_tokens = request.max_tokens,
                           .reply = [this, uid](const auto& grant) { OnReserved(uid, grant); }};
  // One that nobody waits for any more may still be granted: the lease's expiry is for that.
  ground_.network.Send(session.reserve, Side::kServer, [decode, call = session.reserve, reserve] {
    decode->Reserve(call, reserve);
  });
}

void RouterActor::OnReserved(RequestUid uid, const absl::StatusOr<Grant>& grant) {
  const auto it = sessions_.find(uid);
  if (it == sessions_.end()) return;
  Session& session = it->second;
  HangUp(session.reserve);
  if (grant.ok()) {
    session.granted = true;
    session.key = grant->key;
  }
  if (session.outcome != nullptr) return Stop(session, *session.outcome);
  if (grant.ok()) return Prefill(session);
  Stop(session, absl::IsResourceExhausted(grant.status()) ? tally_.refused : tally_.failed);
}

void RouterActor::Prefill(Session& session) {
  const RequestUid uid = session.request.uid;
  PrefillActor* const prefill = &options_.prefill_at(session.request.prefill);
  session.prefill = ground_.network.Connect(
      {.process = process(),
       .on_lost = [this, uid](ConnectionId) { OnPrefilled(uid, absl::UnavailableError("lost")); }},
      {.process = prefill->process(),
       .on_lost = [prefill](ConnectionId call) { prefill->PrefillLost(call); }});
  const SimPrefill request{
      .request = uid,
      .key = session.key,
      .endpoint = session.request.decode,
      .tokens = session.request.prompt_tokens,
      .reply = [this, uid](const absl::Status& status) { OnPrefilled(uid, status); }};
  ground_.network.Send(session.prefill, Side::kServer, [prefill, call = session.prefill, request] {
    prefill->Prefill(call, request);
  });
  if (ground_.random.OneIn(20)) PrefillAgain(request);
}

// The same reservation at the other worker too, as after a retry: only one may write.
void RouterActor::PrefillAgain(SimPrefill request) {
  PrefillActor* const prefill = &options_.prefill_at(1 - request.endpoint);
  request.reply = [](const absl::Status&) {};
  const ConnectionId call = ground_.network.Connect(
      {.process = process(), .on_lost = [](ConnectionId) {}},
      {.process = prefill->process(),
       .on_lost = [prefill](ConnectionId id) { prefill->PrefillLost(id); }});
  ground_.network.Send(call, Side::kServer,
                       [prefill, call, request] { prefill->Prefill(call, request); });
}

void RouterActor::OnPrefilled(RequestUid uid, const absl::Status& status) {
  Session* const session = Find(uid);
  if (session == nullptr) return;
  HangUp(session->prefill);
  if (!status.ok()) return Stop(*session, tally_.failed);
  session->tokens = 1;  // token 0
  Generate(*session);
}

void RouterActor::Generate(Session& session) {
  const RequestUid uid = session.request.uid;
  DecodeActor* const decode = &options_.decode_at(session.request.decode);
  const auto reply = [this, uid](std::optional<int32_t> token, std::optional<EndReason> reason,
                                 const absl::Status& status) {
    OnGenerated(uid, token, reason, status);
  };
  session.generate = ground_.network.Connect(
      {.process = process(),
       .on_lost = [reply](ConnectionId) { reply({}, {}, absl::UnavailableError("lost")); }},
      {.process = decode->process(),
       .on_lost = [decode](ConnectionId call) { decode->GenerateLost(call); }});
  const SimGenerate request{.request = uid,
                            .key = session.key,
                            .prompt_tokens = session.request.prompt_tokens,
                            .max_tokens = session.request.max_tokens,
                            .stop_token = session.request.stop_token,
                            .reply = reply};
  ground_.network.Send(session.generate, Side::kServer, [decode, call = session.generate, request] {
    decode->Generate(call, request);
  });
}

void RouterActor::OnGenerated(RequestUid uid, std::optional<int32_t> token,
                              std::optional<EndReason> reason, const absl::Status& status) {
  Session* const session = Find(uid);
  if (session == nullptr) return;
  if (!status.ok()) return Stop(*session, tally_.failed);
  // The reservation is committed: it ends with the call.
  session->granted = false;
  if (token.has_value() && *token != session->tokens++) {
    ground_.truth.Fault(
        absl::StrCat("request ", uid, " got token ", *token, " as its ", session->tokens, ". one"));
  }
  if (!reason.has_value()) return;
  CheckComplete(*session, *reason);
  Stop(*session, tally_.complete);
}

void RouterActor::CheckComplete(const Session& session, EndReason reason) {
  const Request& request = session.request;
  const bool stops = request.stop_token >= 0 && request.stop_token < request.max_tokens;
  const int want = stops ? request.stop_token + 1 : request.max_tokens;
  if (session.tokens == want && reason == (stops ? EndReason::kStop : EndReason::kLength)) return;
  ground_.truth.Fault(absl::StrCat("request ", request.uid, " ended after ", session.tokens,
                                   " tokens instead of ", want));
}

void RouterActor::Stop(Session& session, int& outcome) {
  session.outcome = &outcome;
  HangUp(session.prefill);
  HangUp(session.generate);
  if (session.reserve != 0) return;
  if (session.granted) Release(session);
  if (session.granted && ground_.random.OneIn(4)) Release(session);  // said twice
  ++outcome;
  sessions_.erase(session.request.uid);
}

void RouterActor::Release(const Session& session) {
  DecodeActor* const decode = &options_.decode_at(session.request.decode);
  ConnectionId call =
      ground_.network.Connect({.process = process(), .on_lost = [](ConnectionId) {}},
                              {.process = decode->process(), .on_lost = [](ConnectionId) {}});
  ground_.network.Send(call, Side::kServer, [decode, key = session.key] { decode->Release(key); });
  HangUp(call);
}

void RouterActor::CancelAny() {
  if (sessions_.empty()) return;
  Session& session = std::next(sessions_.begin(), ground_.random.Below(sessions_.size()))->second;
  if (session.outcome == nullptr) Stop(session, tally_.cancelled);
}

void RouterActor::Tick() {
  const absl::Time now = ground_.clock.Now();
  std::vector<RequestUid> uids;
  for (const auto& [uid, session] : sessions_) uids.push_back(uid);
  for (const RequestUid uid : uids) {
    Session& session = sessions_.at(uid);
    const bool late = session.request.deadline <= now;
    if (session.reserve != 0 && session.reserve_deadline <= now) {
      HangUp(session.reserve);
    } else if (!late) {
      continue;
    }
    int& outcome = late ? tally_.late : tally_.failed;
    Stop(session, session.outcome != nullptr ? *session.outcome : outcome);
  }
}

}  // namespace tandem
