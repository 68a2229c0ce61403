// SPDX-License-Identifier: Apache-2.0
#include "services/prefill/prefill_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/sampling/sampling_wire.h"
#include "services/runtime/transfer/wire.h"

namespace tandem {
namespace {

// Without work the loop looks at its links this often.
constexpr absl::Duration kIdleWait = absl::Milliseconds(50);
constexpr absl::Duration kPublishInterval = absl::Milliseconds(200);

}  // namespace

PrefillLoop::PrefillLoop(const Options& options, Parts parts)
    : options_(options),
      engine_(parts.engine),
      staging_(std::move(parts.staging)),
      watch_(parts.watch),
      metrics_(parts.metrics),
      // Room for every admitted prompt and as many that wait to be refused.
      events_(2 * static_cast<size_t>(options.admission.requests_max)),
      peers_({.incarnation = options.incarnation,
              .kv_format = FormatOf(staging_.storage->layout()),
              .preferred = options.preferred,
              .strict = options.strict,
              .link_timeout = options.link_timeout,
              .allowed = options.decode_workers_allowed,
              .config = &engine_.config(),
              .credentials = options.decode_credentials,
              .server_name = options.decode_server_name,
              .nccl = options.nccl,
              .post = [this](LinkEvent event) { PostAlways(std::move(event)); }},
             staging_, metrics_),
      admission_(options.admission),
      scheduler_(options.admission.chunk_tokens),
      thread_("prefill-loop", [this] { Run(); }) {}

PrefillLoop::~PrefillLoop() {
  stopping_ = true;
  events_.Close();
}

void PrefillLoop::Run() {
  PublishState(Clock::Real().Now());
  while (!stopping_) {
    // A step that runs says when it is over.
    const bool ready = Busy() && !running_.has_value();
    for (PrefillEvent& event : events_.PopAll(ready ? absl::ZeroDuration() : kIdleWait)) {
      std::visit([this](auto& what) { Handle(what); }, event);
    }
    for (LinkEvent& late : peers_.Tend(Clock::Real().Now(), running_.has_value())) Handle(late);
    BeginWaiting();
    if (!running_.has_value()) BeginStep();
    PublishState(Clock::Real().Now());
  }
  Stop();
}

absl::Status PrefillLoop::Check(const v1::PrefillRequest& request) const {
  if (draining_) return Draining({.message = "the prefill worker is shutting down"});
  RETURN_IF_ERROR(admission_.Check(request, QueueFor(request.token_ids_size(), prompts_)));
  if (request.reservation().endpoint().empty())
    return InvalidField("reservation.endpoint", "host:port, got none");
  if (!peers_.Allowed(request.reservation().endpoint()))
    return EndpointNotAllowed(request.reservation().endpoint());
  const LeaseKey key = KeyOf(request.reservation());
  for (const auto& [id, prompt] : prompts_) {
    // News of a lease would reach only one of the two.
    if (prompt.key == key) return LeaseLost("reservation: another prompt is being read into it");
  }
  return absl::OkStatus();
}

void PrefillLoop::Handle(PrefillCommand& command) {
  if (const absl::Status status = Check(command.request); !status.ok())
    return command.stream->Close(status);
  const SequenceId id = next_id_++;
  PrefillPrompt& prompt = prompts_[id];
  prompt.stream = command.stream;
  prompt.arrived = command.arrived;
  prompt.key = KeyOf(command.request.reservation());
  prompt.tokens.assign(command.request.token_ids().begin(), command.request.token_ids().end());
  prompt.request = std::move(command.request);
  if (prompt.request.prompt_logprobs())
    prompt.done.mutable_prompt_logprobs()->Resize(prompt.request.token_ids_size(), 0);
  Peer& peer = peers_.Reach(prompt.request.reservation().endpoint(), prompt.key.incarnation,
                            Clock::Real().Now());
  prompt.link = peer.serial;
  if (peer.channel != nullptr) Ask(prompt, peer);
}

void PrefillLoop::Ask(PrefillPrompt& prompt, Peer& peer) {
  prompt.stage = Asking{};
  peer.link->BeginWrite(prompt.key);
}

void PrefillLoop::Handle(PrefillCancel& cancel) {
  for (const auto& [id, prompt] : prompts_) {
    if (prompt.stream != cancel.stream) continue;
    return Drop(id, absl::CancelledError("the reader is gone"));
  }
}

void PrefillLoop::Handle(LinkEvent& event) {
  Peer* peer = peers_.Find(event.link);
  if (peer == nullptr) return;
  std::visit([this, peer](auto& what) { On(*peer, what); }, event.what);
}

void PrefillLoop::On(Peer& peer, LinkUp& up) {
  peers_.Up(peer, std::move(up));
  for (auto& [id, prompt] : prompts_) {
    if (prompt.link == peer.serial && std::holds_alternative<Linking>(prompt.stage))
      Ask(prompt, peer);
  }
}

void PrefillLoop::On(Peer& peer, LinkDown& down) {
  const std::string message =
      absl::StrCat("link to decode worker ", peer.endpoint, ": ", down.why.message());
  LogWarning("link-down", {{"peer", peer.endpoint}, {"why", std::string(down.why.message())}});
  metrics_.CountTransferFailure(absl::IsFailedPrecondition(down.why) ? "layout"
                                : absl::IsDeadlineExceeded(down.why) ? "timeout"
                                                                     : "peer_gone");
  // What the decode worker said of formats and leases is the caller's to know; anything else is a
  // lost worker.
  const bool refused = absl::IsFailedPrecondition(down.why) || absl::IsAborted(down.why);
  const absl::Status why = refused ? down.why : WorkerLost({.message = message});
  const LinkSerial serial = peer.serial;
  std::vector<SequenceId> lost;
  for (const auto& [id, prompt] : prompts_) {
    if (prompt.link == serial) lost.push_back(id);
  }
  for (const SequenceId id : lost) Drop(id, why);
  peers_.Forget(serial);
}

Prompts::iterator PrefillLoop::Find(const Peer& peer, const LeaseKey& key) {
  return std::find_if(prompts_.begin(), prompts_.end(), [&](const auto& entry) {
    return entry.second.link == peer.serial && entry.second.key == key;
  });
}

void PrefillLoop::On(Peer& peer, LeaseVerdict& verdict) {
  const auto it = Find(peer, verdict.key);
  if (it == prompts_.end() || !std::holds_alternative<Asking>(it->second.stage)) {
    // Cancelled while it was asked for.
    if (verdict.memory.has_value()) peer.link->EndWrite(verdict.key, 0);
    return;
  }
  if (!verdict.memory.has_value())
    return Drop(it->first, LeaseLost("the decode worker does not know the reservation any more"));
  it->second.stage = Staging{.memory = *std::move(verdict.memory), .since = Clock::Real().Now()};
}

void PrefillLoop::Begin(SequenceId id, PrefillPrompt& prompt, Peer& peer) {
  const auto& [memory, since] = std::get<Staging>(prompt.stage);
  const int tokens = static_cast<int>(prompt.tokens.size());
  if (const int64_t room = static_cast<int64_t>(memory.pages.size()) * kPageTokens; tokens > room) {
    return Drop(
        id, InvalidField("token_ids", absl::StrCat("at most ", room, " (reserved), got ", tokens)));
  }
  absl::StatusOr<KvPlace> place = peer.channel->Open(memory, tokens);
  if (absl::IsResourceExhausted(place.status())) {
    const int most = staging_.pages.pages_total();
    if (KvLayout::PagesFor(tokens) <= most) return;  // waits for another prompt's end
    // It never can be: nobody shall try again here.
    return Drop(id, PromptTooLong({.limit = uint64_t{kPageTokens} * most,
                                   .got = static_cast<uint64_t>(tokens),
                                   .of = "staging_pages of the prefill worker, for prompts that "
                                         "are not computed in place"}));
  }
  if (!place.ok()) return Drop(id, place.status());
  metrics_.stage_kv_alloc_wait.Observe(absl::ToDoubleSeconds(Clock::Real().Now() - since));
  const PoolId pool = place->pool;
  prompt.stage = Reading{.place = *std::move(place)};
  scheduler_.Submit(id, tokens, pool);
}

void PrefillLoop::BeginWaiting() {
  std::vector<SequenceId> waiting;
  for (const auto& [id, prompt] : prompts_) {
    if (std::holds_alternative<Staging>(prompt.stage)) waiting.push_back(id);
  }
  bool full = false;
  for (const SequenceId id : waiting) {
    PrefillPrompt& prompt = prompts_.at(id);
    Peer& peer = *peers_.Find(prompt.link);
    if (full && peer.channel->kind() != v1::KV_CHANNEL_KIND_SHARED) continue;
    Begin(id, prompt, peer);
    const auto it = prompts_.find(id);
    full = full || (it != prompts_.end() && std::holds_alternative<Staging>(it->second.stage));
  }
}

void PrefillLoop::On(Peer& peer, LeaseRevoked& revoked) {
  const auto it = Find(peer, revoked.key);
  if (it != prompts_.end())
    Drop(it->first, LeaseLost("the decode worker took the reservation back"));
}

void PrefillLoop::BeginStep() {
  PrefillPlan plan = scheduler_.Next();
  if (plan.items.empty()) return;
  Running& step = running_.emplace();
  step.number = ++steps_;
  step.sample = {.begin = Clock::Real().Now(), .sequences = static_cast<int>(plan.items.size())};
  step.plan = std::move(plan);
  bool taken = false;  // layers, by whoever gets a prompt's last rows
  for (const PrefillItem& item : step.plan.items) {
    PrefillPrompt& prompt = prompts_.at(item.id);
    if (item.start == 0) prompt.begun = step.sample.begin;
    step.view = std::get<Reading>(prompt.stage).place.view;
    step.chunks.push_back(ChunkOf(item, prompt));
    step.sample.tokens_prompt += item.count;
    step.sample.tokens_generated += static_cast<int>(item.last);
    taken = taken || (item.last && peers_.Find(prompt.link)->channel->TakesLayers());
  }
  const uint64_t number = step.number;
  StepListener listener{.done = [this, number] { PostAlways(PrefillStepDone{number}); }};
  if (taken && step.sample.tokens_prompt > kSmallStep) {
    listener.layers = [this, number](int layers) {
      PostAlways(PrefillLayersDone{.number = number, .layers = layers});
    };
  }
  engine_.Launch(step.chunks, step.view, std::move(listener));
}

void PrefillLoop::Handle(PrefillLayersDone& done) {
  if (!running_.has_value() || running_->number != done.number) return;
  for (const PrefillItem& item : running_->plan.items) {
    const PrefillPrompt& prompt = prompts_.at(item.id);
    if (!item.last || !prompt.stopped.ok()) continue;
    peers_.Find(prompt.link)
        ->channel->AdvanceLayers(prompt.key, item.start + item.count, done.layers);
  }
}

void PrefillLoop::EndStep() {
  if (!running_.has_value()) return;
  const std::vector<ChunkResult> results = engine_.Collect();
  Running step = *std::exchange(running_, std::nullopt);
  scheduler_.Advance(step.plan);
  step.sample.end = Clock::Real().Now();
  admission_.OnStep(step.sample.tokens_prompt, step.sample.end - step.sample.begin);
  for (size_t i = 0; i < results.size(); ++i) {
    const PrefillItem& item = step.plan.items[i];
    const absl::Status stopped = prompts_.at(item.id).stopped;
    if (!stopped.ok()) {
      Drop(item.id, stopped);
    } else {
      AfterChunk(item, results[i], step.sample.end);
    }
  }
  metrics_.engine.OnStep(step.sample);
}

void PrefillLoop::AfterChunk(const PrefillItem& item, const ChunkResult& result, absl::Time now) {
  PrefillPrompt& prompt = prompts_.at(item.id);
  prompt.read = item.start + item.count;
  for (size_t i = 0; i < result.target_logprobs.size(); ++i) {
    prompt.done.set_prompt_logprobs(item.start + 1 + static_cast<int>(i),
                                    result.target_logprobs[i]);
  }
  if (item.last) {
    *prompt.done.mutable_first() = ToProto(result.choice);
    return HandOver(item.id, prompt, now);
  }
  peers_.Find(prompt.link)->channel->Advance(prompt.key, prompt.read);
  v1::PrefillResponse progress;
  progress.mutable_progress()->set_tokens(prompt.read);
  (void)prompt.stream->Write(std::move(progress));  // who is gone says so by OnCancelled
}

void PrefillLoop::HandOver(SequenceId id, PrefillPrompt& prompt, absl::Time now) {
  prompt.handed = now;
  *prompt.done.mutable_queue() = ToProto(prompt.begun - prompt.arrived);
  *prompt.done.mutable_compute() = ToProto(now - prompt.begun);
  metrics_.prompt_time.Observe(absl::ToDoubleSeconds(now - prompt.begun));
  prompt.stage = Handing{.begin = now};
  KvChannel& channel = *peers_.Find(prompt.link)->channel;
  channel.Write(prompt.key, static_cast<int>(prompt.tokens.size()));
  channel.Fence(prompt.key, [this, id](absl::Status status) {
    PostAlways(FencePassed{.id = id, .status = std::move(status)});
  });
}

void PrefillLoop::Handle(FencePassed& fence) {
  const auto it = prompts_.find(fence.id);
  if (it == prompts_.end() || !std::holds_alternative<Handing>(it->second.stage)) return;
  if (!fence.status.ok()) {
    metrics_.CountTransferFailure(absl::IsAborted(fence.status) ? "lease_expired" : "peer_gone");
    return Drop(it->first, fence.status);
  }
  PrefillPrompt& prompt = it->second;
  prompt.stage = Ending{};
  peers_.Find(prompt.link)->link->EndWrite(prompt.key, static_cast<int>(prompt.tokens.size()));
}

void PrefillLoop::On(Peer& peer, LeaseEnded& ended) {
  const auto it = Find(peer, ended.key);
  if (it != prompts_.end() && std::holds_alternative<Ending>(it->second.stage)) Finish(it->first);
}

void PrefillLoop::Finish(SequenceId id) {
  PrefillPrompt& prompt = prompts_.at(id);
  KvChannel& channel = *peers_.Find(prompt.link)->channel;
  const KvTravel travel = channel.Travel(prompt.key);
  channel.Close(prompt.key);
  const absl::Duration transfer = Clock::Real().Now() - prompt.handed;
  metrics_.OnTransfer({.kind = channel.kind(),
                       .bytes = travel.bytes,
                       .descriptors = travel.descriptors,
                       .under_way = travel.under_way,
                       .exposed = transfer});
  *prompt.done.mutable_kv_transfer() = ToProto(transfer);
  v1::PrefillResponse response;
  *response.mutable_done() = std::move(prompt.done);
  (void)prompt.stream->Write(std::move(response));
  prompt.stream->Close(absl::OkStatus());
  prompts_.erase(id);
}

void PrefillLoop::Drop(SequenceId id, const absl::Status& status) {
  const auto it = prompts_.find(id);
  CHECK(it != prompts_.end());
  PrefillPrompt& prompt = it->second;
  scheduler_.Cancel(id);
  if (running_.has_value() && running_->Has(id)) {
    // Nothing of a prompt is freed under the engine. The first reason counts.
    if (prompt.stopped.ok()) prompt.stopped = status;
    return;
  }
  Peer* peer = peers_.FindKept(prompt.link);
  const bool asked =
      std::holds_alternative<Linking>(prompt.stage) || std::holds_alternative<Asking>(prompt.stage);
  if (peer != nullptr && peer->channel != nullptr && !asked) {
    peer->channel->Close(prompt.key);
    if (!std::holds_alternative<Ending>(prompt.stage)) peers_.GiveUp(*peer, prompt.key);
  }
  prompt.stream->CloseNow(status);
  prompts_.erase(it);
}

void PrefillLoop::PublishState(absl::Time now) {
  idle_ = prompts_.empty();
  if (now < next_publish_) return;
  next_publish_ = now + kPublishInterval;
  v1::WatchResponse state;
  state.set_role(v1::WORKER_ROLE_PREFILL);
  state.set_incarnation(options_.incarnation);
  *state.mutable_kv_format() = FormatOf(staging_.storage->layout());
  state.set_running(scheduler_.running());
  state.set_waiting(static_cast<uint32_t>(prompts_.size()) - state.running());
  state.set_draining(draining_);
  state.set_context_tokens_max(options_.admission.context_tokens_max);
  state.set_tokens_waiting(TokensLeft(prompts_));
  watch_.Publish(state);
  metrics_.SetQueues(QueuesOf(prompts_, now));
  const int pages = staging_.pages.pages_total();
  metrics_.staging.Set({.pages_used = pages - staging_.pages.pages_free(),
                        .pages_total = pages,
                        .page_tokens = kPageTokens});
  peers_.ShowLinks();
  metrics_.engine.SetBusy(Busy());
}

void PrefillLoop::Stop() {
  const absl::Status gone = WorkerLost({.message = "the prefill worker is shutting down"});
  EndStep();
  while (!prompts_.empty()) Drop(prompts_.begin()->first, gone);
  for (PrefillEvent& event : events_.PopAll(absl::ZeroDuration())) {
    if (auto* command = std::get_if<PrefillCommand>(&event)) command->stream->Close(gone);
  }
}

}  // namespace tandem
