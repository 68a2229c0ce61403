// SPDX-License-Identifier: Apache-2.0
#include "services/decode/decode_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/decode/answers/generate_request.h"
#include "services/decode/write_kv_reactor.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/sampling/sampling_wire.h"
#include "services/runtime/transfer/wire.h"

namespace tandem {
namespace {

// Without work the loop looks at leases and links this often.
constexpr absl::Duration kIdleWait = absl::Milliseconds(50);
// A decode step on a device is waited for awake, if it does not last longer.
constexpr absl::Duration kAwake = absl::Milliseconds(20);
constexpr absl::Duration kPublishInterval = absl::Milliseconds(200);

// Two live links never share a cell of the self-test.
constexpr int kLinksMax = KvStorage::kTestCells;
// One call a lease, and another one that was told to stop but has not yet.
constexpr int kWriteKvPerSlot = 2;

absl::Status ReaderGone() {
  return absl::CancelledError("the reader is gone");
}

absl::Status ReaderBehind() {
  return SlowReader({.message = "the reader of the tokens does not keep up, or is gone"});
}

}  // namespace

DecodeLoop::DecodeLoop(const Options& options, Parts parts)
    : options_(options),
      engine_(parts.engine),
      storage_(std::move(parts.storage)),
      watch_(parts.watch),
      metrics_(parts.metrics),
      nccl_(parts.nccl),
      links_quota_(kLinksMax),
      write_kv_quota_(kWriteKvPerSlot * storage_->layout().slots()),
      leases_({.incarnation = options.incarnation,
               .seed = options.lease_seed,
               .ttl = options.lease_ttl,
               .page_tokens = kPageTokens},
              PagePool(storage_->layout().pages(), storage_->layout().slots())),
      links_(storage_->shared(), !storage_->gpu_memory().empty()),
      scheduler_(options.batch_max),
      commands_(options.commands_max),
      thread_("decode-loop", [this] { Run(); }) {}

DecodeLoop::~DecodeLoop() {
  stopping_ = true;
  commands_.Close();
}

void DecodeLoop::Run() {
  PublishState(Clock::Real().Now());
  while (!stopping_) {
    // A step that runs says when it is over.
    const bool ready = scheduler_.running() > 0 && !running_.has_value();
    const absl::Duration wait = ready ? absl::ZeroDuration() : kIdleWait;
    const bool awake = running_.has_value() && engine_.runs() == StepRuns::kOnDevice;
    for (DecodeCommand& command : commands_.PopAll(wait, awake ? kAwake : absl::ZeroDuration())) {
      std::visit([this](auto& what) { Handle(what); }, command);
    }
    const absl::Time now = Clock::Real().Now();
    Reap(now);
    if (engine_.runs() == StepRuns::kInLaunch) TellReaders();
    if (scheduler_.running() > 0 && !running_.has_value()) BeginStep();
    TellReaders();
    PublishState(now);
  }
  Stop();
}

void DecodeLoop::Handle(ReserveCommand& command) {
  if (draining_) return command.reply(Draining({.message = "the decode worker is shutting down"}));
  if (command.tokens < 1 || command.tokens > options_.context_tokens_max) {
    return command.reply(
        InvalidField("tokens", absl::StrCat("1 to ", options_.context_tokens_max,
                                            " (prompt and answer), got ", command.tokens)));
  }
  absl::StatusOr<Grant> grant = leases_.GrantLease(command.tokens, Clock::Real().Now());
  if (grant.ok() && idle_) PublishState(Clock::Real().Now());
  if (!grant.ok()) grant = KvBudget({.message = std::string(grant.status().message())});
  command.reply(std::move(grant));
}

void DecodeLoop::Handle(ReleaseCommand& command) {
  links_.SendRevocations(leases_.Release(command.key));
  command.reply();
}

void DecodeLoop::Handle(GenerateCommand& command) {
  if (const absl::Status status = Start(command); !status.ok()) command.sink->Close(status);
}

absl::Status DecodeLoop::Start(const GenerateCommand& command) {
  const v1::DecodeServiceGenerateRequest& request = command.request;
  const LeaseKey key = KeyOf(request.reservation());
  RETURN_IF_ERROR(CheckGenerate(request, engine_.config()));
  RETURN_IF_ERROR(command.sink->Open(token_streams_));
  absl::StatusOr<Grant> memory = leases_.Commit(key, request.prompt_tokens());
  if (absl::IsInvalidArgument(memory.status()))
    return InvalidField("prompt_tokens", memory.status().message());
  if (!memory.ok()) return LeaseLost(memory.status().message());
  // The last page may reach past the positions that the model is made for.
  const int64_t room = std::min(static_cast<int64_t>(memory->pages.size()) * kPageTokens,
                                options_.context_tokens_max);
  if (request.prompt_tokens() + int64_t{request.max_tokens()} > room) {
    leases_.Finish(key);
    return InvalidField(
        "max_tokens", absl::StrCat("prompt_tokens + max_tokens at most ", room, " (reserved), got ",
                                   request.prompt_tokens(), " + ", request.max_tokens()));
  }
  const std::vector<int32_t> prompt(request.prompt_token_ids().begin(),
                                    request.prompt_token_ids().end());
  const auto first = static_cast<int32_t>(request.first_token());
  const absl::Time now = Clock::Real().Now();
  Sequence sequence{.memory = *std::move(memory),
                    .sink = command.sink,
                    .sampler = Sampler(SpecOf(request.sampling()), prompt),
                    .position = request.prompt_tokens(),
                    .token = first,
                    .begun = now,
                    .last_token = now};
  sequence.sampler.Accept(first);
  metrics_.OnAnswer(static_cast<int>(request.prompt_tokens()));
  const SequenceId id = next_id_++;
  sequences_.emplace(id, std::move(sequence));
  if (const auto end = scheduler_.Add(id, EndCriteriaOf(request), first)) {
    v1::DecodeServiceGenerateResponse last;
    last.set_reason(ReasonOf(*end));
    (void)command.sink->Write(std::move(last));
    End(id, absl::OkStatus());
    FlushTokens();
  }
  return absl::OkStatus();
}

void DecodeLoop::Handle(CancelCommand& command) {
  for (auto& [id, sequence] : sequences_) {
    if (sequence.sink == command.sink) return StopSequence(id, ReaderGone());
  }
}

void DecodeLoop::StopSequence(SequenceId id, const absl::Status& status) {
  if (!running_.has_value() || !running_->Has(id)) return End(id, status);
  sequences_.at(id).stopped = status;
}

void DecodeLoop::Handle(TokensLostCommand& command) {
  EndTokens(command.stream, ReaderGone());
}

void DecodeLoop::EndTokens(uint64_t stream, const absl::Status& status) {
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    const auto& [id, sequence] = *it++;  // it may end
    if (sequence.sink->token_stream() == stream) StopSequence(id, status);
  }
  token_streams_.Close(stream, status);
}

void DecodeLoop::FlushTokens() {
  for (const uint64_t stream : token_streams_.Flush()) EndTokens(stream, ReaderBehind());
}

void DecodeLoop::Handle(LinkOpenedCommand& command) {
  links_.Open(command);
}

void DecodeLoop::Handle(LinkBeginCommand& command) {
  const absl::StatusOr<Grant> memory =
      leases_.BeginWrite(command.key, command.link, links_.InPlace(command.link));
  v1::LinkResponse response;
  v1::WriteVerdict& verdict = *response.mutable_verdict();
  *verdict.mutable_lease() = ToProto(command.key);
  verdict.set_granted(memory.ok());
  if (memory.ok()) {
    verdict.set_slot(memory->slot);
    verdict.mutable_pages()->Add(memory->pages.begin(), memory->pages.end());
  }
  links_.Send(command.link, std::move(response));
}

void DecodeLoop::Handle(LinkJoinedCommand& command) {
  links_.Joined(command);
}

void DecodeLoop::Handle(LinkPartCommand& command) {
  const LinkPartDoneCommand done{.link = command.link, .key = command.part.key};
  const absl::StatusOr<Grant> memory = leases_.WritableByLink(done.key, done.link);
  v1::LinkResponse response;
  *response.mutable_part()->mutable_lease() = ToProto(done.key);
  response.mutable_part()->set_accepted(
      memory.ok() &&
      links_.Receive(command, *memory, *storage_, [this, done] { (void)PostAlways(done); }));
  links_.Send(command.link, std::move(response));
}

void DecodeLoop::Handle(LinkPartDoneCommand& command) {
  if (std::optional<LinkEndCommand> end = links_.Received(command)) Handle(*end);
}

void DecodeLoop::Handle(LinkEndCommand& command) {
  if (links_.Defer(command)) return;
  // Not OK: the lease ended before, its pages have just become free; the writer is told the same.
  (void)leases_.EndWrite(command.key, {.link = command.link, .tokens = command.tokens},
                         Clock::Real().Now());
  v1::LinkResponse response;
  *response.mutable_ended() = ToProto(command.key);
  links_.Send(command.link, std::move(response));
}

void DecodeLoop::Handle(LinkClosedCommand& command) {
  leases_.LinkLost(command.link);
  links_.Close(std::move(command));
}

void DecodeLoop::Handle(WriteKvCommand& command) {
  const absl::StatusOr<Grant> memory = leases_.WritableByBytes(command.key);
  command.reply(memory.ok() ? CopyPiece(command, *memory, *storage_)
                            : LeaseLost(memory.status().message()));
}

void DecodeLoop::BeginStep() {
  running_.emplace(Running{.begin = Clock::Real().Now(), .batch = scheduler_.Next(), .chunks = {}});
  for (const SequenceId id : running_->batch) {
    Sequence& sequence = sequences_.at(id);
    sequence.stepped = std::min(sequence.stepped, running_->begin);
    running_->chunks.push_back({.tokens = {&sequence.token, 1},
                                .start = sequence.position,
                                .slot = sequence.memory.slot,
                                .pages = sequence.memory.pages,
                                .sampler = &sequence.sampler});
  }
  engine_.Launch(running_->chunks, storage_->view(),
                 {.done = [this] { (void)PostAlways(StepDoneCommand{}); }});
}

void DecodeLoop::Handle(StepDoneCommand& /*command*/) {
  std::vector<ChunkResult> results = engine_.Collect();
  const Running step = *std::exchange(running_, std::nullopt);
  for (size_t i = 0; i < step.batch.size(); ++i) Take(step.batch[i], std::move(results[i].choice));
  const int sequences = static_cast<int>(step.batch.size());
  sample_ = {.begin = step.begin,
             .end = Clock::Real().Now(),
             .sequences = sequences,
             .tokens_generated = sequences,
             .launches = engine_.launches()};
}

void DecodeLoop::Take(SequenceId id, TokenChoice choice) {
  Sequence& sequence = sequences_.at(id);
  Written written{.id = id};
  if (sequence.stopped.ok()) {
    sequence.sampler.Accept(choice.id);
    ++sequence.position;
    sequence.token = choice.id;
    written.end = scheduler_.Advance(id, choice.id);
    written.choice = std::move(choice);
  } else {
    scheduler_.Remove(id);
    metrics_.wasted.Increment();
  }
  written_.push_back(std::move(written));
}

void DecodeLoop::TellReaders() {
  if (written_.empty()) return;
  for (const Written& written : std::exchange(written_, {})) Tell(written);
  FlushTokens();
  metrics_.OnStep(sample_);
}

void DecodeLoop::Tell(const Written& written) {
  const auto it = sequences_.find(written.id);
  if (it == sequences_.end()) return;  // cancelled meanwhile
  Sequence& sequence = it->second;
  if (!sequence.stopped.ok()) return End(written.id, sequence.stopped);
  v1::DecodeServiceGenerateResponse response;
  if (sequence.last_token == sequence.begun) {
    metrics_.OnFirstToken({.begun = sequence.begun, .step = sequence.stepped, .end = sample_.end});
    *response.mutable_queue() = ToProto(sequence.stepped - sequence.begun);
  }
  metrics_.inter_token_gap.Add(absl::ToDoubleSeconds(sample_.end - sequence.last_token));
  sequence.last_token = sample_.end;
  *response.add_tokens() = ToProto(written.choice);
  if (written.end.has_value()) response.set_reason(ReasonOf(*written.end));
  if (!sequence.sink->Write(std::move(response))) return StopSequence(written.id, ReaderBehind());
  if (written.end.has_value()) End(written.id, absl::OkStatus());
}

void DecodeLoop::End(SequenceId id, absl::Status status) {
  const auto it = sequences_.find(id);
  CHECK(it != sequences_.end());
  scheduler_.Remove(id);
  leases_.Finish(it->second.memory.key);
  metrics_.decode_time.Observe(absl::ToDoubleSeconds(it->second.last_token - it->second.begun));
  if (status.ok()) {
    it->second.sink->Close(status);
  } else {
    it->second.sink->CloseNow(status);
  }
  sequences_.erase(it);
}

void DecodeLoop::Reap(absl::Time now) {
  for (const LeaseKey& key : leases_.Expire(now)) {
    metrics_.lease_expired.Increment();
    LogWarning("lease-expired", {{"lease", key.lease_id}});
  }
  for (const LinkId link : links_.TakeDead(now)) {
    leases_.LinkDead(link);
    LogInfo("link-gone", {{"link", link}});
  }
}

void DecodeLoop::PublishState(absl::Time now) {
  const PagePool& pool = leases_.pool();
  const bool idle = pool.slots_free() == pool.slots_total();
  // Both edges are told at once, the first lease before its caller hears of it.
  if (idle_.exchange(idle) == idle && now < next_publish_) return;
  next_publish_ = now + kPublishInterval;
  // It looks at every lease: for what is told, not for every turn.
  const LeaseTable::Counts counts = leases_.counts();
  CHECK_EQ(pool.pages_free() + counts.pages_held, pool.pages_total());
  v1::WatchResponse state;
  state.set_role(v1::WORKER_ROLE_DECODE);
  state.set_incarnation(options_.incarnation);
  *state.mutable_kv_format() = FormatOf(storage_->layout());
  state.set_running(scheduler_.running());
  state.set_waiting(counts.granted + counts.writing + counts.filled);
  state.set_pages_free(pool.pages_free());
  state.set_slots_free(pool.slots_free());
  state.set_draining(draining_);
  state.set_context_tokens_max(options_.context_tokens_max);
  watch_.Publish(state);
  metrics_.SetPages({.free = pool.pages_free(),
                     .leased_out = counts.pages_leased_out,
                     .receiving = counts.pages_writing,
                     .active = counts.pages_committed,
                     .quarantined = counts.pages_quarantined,
                     .page_tokens = kPageTokens});
  metrics_.SetLeases({.granted = counts.granted,
                      .writing = counts.writing,
                      .filled = counts.filled,
                      .committed = counts.committed,
                      .quarantined = counts.quarantined},
                     now);
  metrics_.engine.SetLinks([this](v1::KvChannelKind kind) { return links_.Count(kind); });
  metrics_.engine.queue_waiting.Set(state.waiting());
  metrics_.engine.queue_running.Set(state.running());
  metrics_.engine.SetBusy(scheduler_.running() > 0);
}

void DecodeLoop::Stop() {
  const absl::Status gone = LoopGone();
  // Nothing of a sequence is freed under the engine.
  if (running_.has_value()) (void)engine_.Collect();
  running_.reset();
  while (!sequences_.empty()) End(sequences_.begin()->first, gone);
  token_streams_.CloseAll(gone);
  for (DecodeCommand& command : commands_.PopAll(absl::ZeroDuration())) {
    std::visit(
        [&gone](auto& what) {
          using Command = std::decay_t<decltype(what)>;
          if constexpr (std::is_same_v<Command, GenerateCommand>) what.sink->Close(gone);
          if constexpr (std::is_same_v<Command, TokensOpenedCommand>) what.stream->Close(gone);
          if constexpr (std::is_same_v<Command, ReserveCommand>) what.reply(gone);
          if constexpr (std::is_same_v<Command, ReleaseCommand>) what.reply();
          if constexpr (std::is_same_v<Command, WriteKvCommand>) what.reply(gone);
          if constexpr (std::is_same_v<Command, LinkClosedCommand>) what.dispose();
        },
        command);
  }
  links_.Stop();
}

}  // namespace tandem
