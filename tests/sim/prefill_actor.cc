// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/prefill_actor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem {

PrefillActor::PrefillActor(const Options& options, const Ground& ground)
    : options_(options),
      ground_(ground),
      scheduler_(options.chunk_tokens),
      staging_(options.staging_pages, options.staging_slots) {
  ground_.truth.AddPool(options.pool, options.staging_pages, options.staging_slots);
}

PrefillActor::~PrefillActor() {
  for (const auto& [link, peer] : peers_) ground_.truth.Unmap(link);
}

void PrefillActor::Prefill(ConnectionId call, SimPrefill prefill) {
  Prompt prompt{.call = call, .prefill = std::move(prefill)};
  for (const auto& [id, other] : prompts_) {
    if (other.prefill.key == prompt.prefill.key)
      return Reply(prompt, absl::AbortedError("another prompt is being read into it"));
  }
  prompt.link = Reach(prompt.prefill);
  if (peers_.at(prompt.link).up) Ask(prompt.link, prompt);
  prompts_[next_id_++] = std::move(prompt);
}

void PrefillActor::PrefillLost(ConnectionId call) {
  for (const auto& [id, prompt] : prompts_) {
    if (prompt.call == call) return Drop(id, absl::CancelledError("the reader is gone"));
  }
}

LinkId PrefillActor::Reach(const SimPrefill& prefill) {
  for (const auto& [link, peer] : peers_) {
    if (peer.incarnation == prefill.key.incarnation) return link;
  }
  DecodeActor* const decode = &options_.decode_at(prefill.endpoint);
  const LinkId link = ground_.network.Connect(
      {.process = process(),
       .on_lost = [this](LinkId id) { Down(id, absl::UnavailableError("the link is lost")); }},
      {.process = decode->process(), .on_lost = [decode](LinkId id) { decode->LinkLost(id); }});
  const DecodeActor::Hello hello{.incarnation = prefill.key.incarnation,
                                 .in_place = prefill.endpoint == options_.in_place};
  peers_[link] = {.decode = decode,
                  .process = decode->process(),
                  .incarnation = hello.incarnation,
                  .in_place = hello.in_place,
                  .opened = ground_.clock.Now()};
  // It maps as soon as it has an offer: earlier than the other side counts on it.
  if (hello.in_place) ground_.truth.Map(link);
  ground_.network.Send(link, Side::kServer, [decode, link, hello, peer = PeerOf(link)] {
    decode->OpenLink(link, hello, peer);
  });
  return link;
}

LinkPeer PrefillActor::PeerOf(LinkId link) {
  return {
      .up = [this, link] { Up(link); },
      .refused = [this, link](const absl::Status& why) { Down(link, why); },
      .verdict = [this, link](const LeaseKey& key,
                              const std::optional<Grant>& memory) { Verdict(link, key, memory); },
      .revoked = [this, link](const LeaseKey& key) { Revoked(link, key); },
      .ended = [this, link](const LeaseKey& key) { Ended(link, key); }};
}

void PrefillActor::Up(LinkId link) {
  peers_.at(link).up = true;
  for (auto& [id, prompt] : prompts_) {
    if (prompt.link == link && prompt.stage == Stage::kLinking) Ask(link, prompt);
  }
}

void PrefillActor::Down(LinkId link, const absl::Status& why) {
  if (!peers_.contains(link)) return;
  std::vector<SequenceId> lost;
  for (const auto& [id, prompt] : prompts_) {
    if (prompt.link == link) lost.push_back(id);
  }
  for (const SequenceId id : lost) Drop(id, why);
  peers_.erase(link);
  ground_.truth.Unmap(link);
  ground_.network.HangUp(link, Side::kClient);
}

PrefillActor::Prompts::iterator PrefillActor::Find(LinkId link, const LeaseKey& key) {
  return std::find_if(prompts_.begin(), prompts_.end(), [&](const auto& entry) {
    return entry.second.link == link && entry.second.prefill.key == key;
  });
}

void PrefillActor::Ask(LinkId link, Prompt& prompt) {
  prompt.stage = Stage::kAsking;
  ground_.network.Send(link, Side::kServer,
                       [decode = peers_.at(link).decode, link, key = prompt.prefill.key] {
                         decode->BeginWrite(link, key);
                       });
}

void PrefillActor::SendEndWrite(LinkId link, const LeaseKey& key, int tokens) {
  // From here on nothing is written for it.
  ground_.truth.WriterEnds(key);
  ground_.network.Send(link, Side::kServer, [decode = peers_.at(link).decode, link, key, tokens] {
    decode->EndWrite(link, key, tokens);
  });
}

void PrefillActor::Verdict(LinkId link, const LeaseKey& key, const std::optional<Grant>& memory) {
  const auto it = Find(link, key);
  if (it == prompts_.end() || it->second.stage != Stage::kAsking) {
    if (memory.has_value()) SendEndWrite(link, key, 0);
    return;
  }
  if (!memory.has_value()) return Drop(it->first, absl::AbortedError("the reservation is over"));
  it->second.memory = memory;
  it->second.stage = Stage::kStaging;
  Begin(it->first);
}

void PrefillActor::Begin(SequenceId id) {
  Prompt& prompt = prompts_.at(id);
  const bool in_place = peers_.at(prompt.link).in_place;
  const int tokens = prompt.prefill.tokens;
  if (in_place) {
    prompt.place = PlaceOf(*prompt.memory);
  } else {
    auto memory = staging_.Allocate((tokens + kSimPageTokens - 1) / kSimPageTokens);
    if (!memory.ok()) return;  // waits for another prompt's end
    prompt.place = {.pool = options_.pool, .slot = memory->slot, .pages = memory->pages};
    ground_.truth.Granted(prompt.place);
    prompt.staging = *std::move(memory);
  }
  prompt.stage = Stage::kReading;
  scheduler_.Submit(id, tokens, PoolIdOf(prompt));
  // The oldest prompt gets something in all steps but every fourth, so what was there before it and
  // itself are read by then, whatever comes after it.
  tokens_due_ += tokens;
  prompt.steps_due = tokens_due_ + tokens_due_ / (PrefillScheduler::kShare - 1) + 1;
}

void PrefillActor::Step() {
  const PrefillPlan plan = scheduler_.Next();
  if (plan.items.empty()) return;
  for (auto& [id, prompt] : prompts_) {
    if (prompt.stage == Stage::kReading && --prompt.steps_due < 0)
      ground_.truth.Fault(absl::StrCat("prompt ", id, " starves"));
  }
  int tokens = 0;
  for (const PrefillItem& item : plan.items) {
    Prompt& prompt = prompts_.at(item.id);
    const RequestUid request = prompt.prefill.request;
    tokens += item.count;
    if (PoolIdOf(prompt) != plan.pool || item.start != prompt.read ||
        tokens > options_.chunk_tokens) {
      ground_.truth.Fault(absl::StrCat("a step of ", tokens, " tokens in pool ", plan.pool,
                                       " reads prompt ", item.id, " of pool ", PoolIdOf(prompt),
                                       " from ", item.start, ", not ", prompt.read));
    }
    if (item.start > 0)
      ground_.truth.Read(prompt.place, {.request = request, .first = 0, .last = item.start});
    ground_.truth.Write(prompt.place,
                        {.request = request, .first = item.start, .last = item.start + item.count});
    prompt.read += item.count;
    tokens_due_ -= item.count;
  }
  scheduler_.Advance(plan);
  for (const PrefillItem& item : plan.items) {
    if (item.last) HandOver(item.id);
  }
}

void PrefillActor::HandOver(SequenceId id) {
  Prompt& prompt = prompts_.at(id);
  prompt.stage = Stage::kHanding;
  if (!prompt.staging.has_value()) {
    prompt.handed = absl::OkStatus();  // nothing to wait for but the loop's next turn
    return;
  }
  const Peer& peer = peers_.at(prompt.link);
  Network& network = ground_.network;
  prompt.bytes = network.Connect(
      {.process = process(),
       .on_lost = [this, id](ConnectionId) { Fence(id, absl::UnavailableError("bytes")); }},
      {.process = peer.process, .on_lost = [](ConnectionId) {}});
  const auto answer = [&network, this, id, call = prompt.bytes](const absl::Status& status) {
    network.Send(call, Side::kClient, [this, id, status] { Fence(id, status); });
  };
  for (size_t page = 0; page < prompt.place.pages.size(); ++page) {
    network.Send(prompt.bytes, Side::kServer,
                 [decode = peer.decode, answer, key = prompt.prefill.key,
                  piece = ground_.truth.Copy(prompt.place, static_cast<int>(page))] {
                   const absl::Status status = decode->Paste(key, piece);
                   if (!status.ok()) answer(status);
                 });
  }
  network.Send(prompt.bytes, Side::kServer, [answer] { answer(absl::OkStatus()); });
}

// The first word counts.
void PrefillActor::Fence(SequenceId id, const absl::Status& status) {
  const auto it = prompts_.find(id);
  if (it == prompts_.end() || it->second.handed.has_value()) return;
  it->second.handed = status;
}

void PrefillActor::Revoked(LinkId link, const LeaseKey& key) {
  const auto it = Find(link, key);
  if (it != prompts_.end()) Drop(it->first, absl::AbortedError("taken back"));
}

void PrefillActor::Ended(LinkId link, const LeaseKey& key) {
  const auto it = Find(link, key);
  if (it == prompts_.end() || it->second.stage != Stage::kEnding) return;
  CloseChannel(it->second);
  Reply(it->second, absl::OkStatus());
  prompts_.erase(it);
}

void PrefillActor::CloseChannel(Prompt& prompt) {
  if (prompt.bytes != 0) ground_.network.HangUp(prompt.bytes, Side::kClient);
  if (prompt.staging.has_value()) staging_.Free(*std::exchange(prompt.staging, std::nullopt));
}

void PrefillActor::Drop(SequenceId id, const absl::Status& status) {
  Prompt& prompt = prompts_.at(id);
  if (scheduler_.Cancel(id)) tokens_due_ -= prompt.prefill.tokens - prompt.read;
  const bool asked = prompt.stage == Stage::kLinking || prompt.stage == Stage::kAsking;
  if (!asked) {
    CloseChannel(prompt);
    if (prompt.stage != Stage::kEnding) SendEndWrite(prompt.link, prompt.prefill.key, 0);
  }
  Reply(prompt, status);
  prompts_.erase(id);
}

void PrefillActor::Reply(const Prompt& prompt, const absl::Status& status) {
  ground_.network.Send(prompt.call, Side::kClient,
                       [reply = prompt.prefill.reply, status] { reply(status); });
}

void PrefillActor::Tend() {
  std::vector<LinkId> overdue;
  for (const auto& [link, peer] : peers_) {
    if (!peer.up && peer.opened + options_.link_timeout < ground_.clock.Now())
      overdue.push_back(link);
  }
  for (const LinkId link : overdue) Down(link, absl::DeadlineExceededError("the link is late"));
  std::vector<SequenceId> ids;
  for (const auto& [id, prompt] : prompts_) ids.push_back(id);
  for (const SequenceId id : ids) {
    Prompt& prompt = prompts_.at(id);
    if (prompt.stage == Stage::kStaging) Begin(id);
    if (prompt.stage != Stage::kHanding || !prompt.handed.has_value()) continue;
    if (!prompt.handed->ok()) {
      Drop(id, *prompt.handed);
      continue;
    }
    prompt.stage = Stage::kEnding;
    SendEndWrite(prompt.link, prompt.prefill.key, prompt.prefill.tokens);
  }
}

}  // namespace tandem
