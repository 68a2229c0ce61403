// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/decode_actor.h"

#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr size_t kGrantedMax = 16;

using Parts = std::tuple<int, int, int, int, int, int>;
Parts CountsOf(const LeaseTable& leases) {
  const LeaseTable::Counts counts = leases.counts();
  return {counts.granted,   counts.writing,     counts.filled,
          counts.committed, counts.quarantined, counts.pages_held};
}

}  // namespace

DecodeActor::DecodeActor(const Options& options, const Ground& ground)
    : options_(options),
      ground_(ground),
      leases_({.incarnation = options.incarnation,
               .ttl = options.lease_ttl,
               .page_tokens = kSimPageTokens},
              PagePool(options.pages, options.slots)),
      scheduler_(options.batch_max) {
  ground_.truth.AddPool(options.incarnation, options.pages, options.slots);
}

bool DecodeActor::AllFree() const {
  return leases_.pool().pages_free() == options_.pages &&
         leases_.pool().slots_free() == options_.slots;
}

void DecodeActor::Reserve(ConnectionId call, const SimReserve& reserve) {
  const absl::StatusOr<Grant> grant =
      leases_.GrantLease(reserve.prompt_tokens + reserve.max_tokens, ground_.clock.Now());
  if (grant.ok()) {
    ground_.truth.Granted(PlaceOf(*grant));
    granted_.emplace_back(grant->key, reserve);
    if (granted_.size() > kGrantedMax) granted_.pop_front();
  }
  ground_.network.Send(call, Side::kClient, [reply = reserve.reply, grant] { reply(grant); });
}

void DecodeActor::Release(const LeaseKey& key) {
  const int writing = leases_.counts().writing;
  Tell(leases_.Release(key), writing);
}

void DecodeActor::Generate(ConnectionId call, SimGenerate generate) {
  const absl::StatusOr<Grant> memory = leases_.Commit(generate.key, generate.prompt_tokens);
  if (!memory.ok()) {
    ground_.network.Send(call, Side::kClient, [reply = generate.reply, why = memory.status()] {
      reply(std::nullopt, std::nullopt, why);
    });
    return;
  }
  ground_.truth.ReaderBegins(*memory);
  ground_.truth.Read(PlaceOf(*memory),
                     {.request = generate.request, .first = 0, .last = generate.prompt_tokens});
  const SequenceId id = next_id_++;
  const EndCriteria criteria{.tokens_max = generate.max_tokens,
                             .stop_tokens = {generate.stop_token}};
  Sequence& sequence = sequences_[id];
  sequence.call = call;
  sequence.memory = *memory;
  sequence.position = generate.prompt_tokens;
  sequence.generate = std::move(generate);
  // Prefill drew token 0.
  if (const auto end = scheduler_.Add(id, criteria, 0)) return End(id, end, absl::OkStatus());
  sequence.steps_due = TurnsWithin();
}

int DecodeActor::TurnsWithin() const {
  return (scheduler_.running() + options_.batch_max - 1) / options_.batch_max;
}

void DecodeActor::GenerateLost(ConnectionId call) {
  for (const auto& [id, sequence] : sequences_) {
    if (sequence.call != call) continue;
    return End(id, std::nullopt, absl::CancelledError("the reader is gone"));
  }
}

void DecodeActor::Step() {
  const std::vector<SequenceId> batch = scheduler_.Next();
  for (auto& [id, sequence] : sequences_) {
    if (--sequence.steps_due < 0) ground_.truth.Fault(absl::StrCat("sequence ", id, " starves"));
  }
  for (const SequenceId id : batch) {
    Sequence& sequence = sequences_.at(id);
    const Place place = PlaceOf(sequence.memory);
    const RequestUid request = sequence.generate.request;
    const int at = sequence.position++;
    ground_.truth.Read(place, {.request = request, .first = 0, .last = at});
    ground_.truth.Write(place, {.request = request, .first = at, .last = at + 1});
    // Token i of an answer is i.
    const int32_t token = at + 1 - sequence.generate.prompt_tokens;
    const auto end = scheduler_.Advance(id, token);
    sequence.steps_due = TurnsWithin();
    ground_.network.Send(sequence.call, Side::kClient, [reply = sequence.generate.reply, token] {
      reply(token, std::nullopt, absl::OkStatus());
    });
    if (end.has_value()) End(id, end, absl::OkStatus());
  }
}

void DecodeActor::End(SequenceId id, std::optional<EndReason> reason, const absl::Status& status) {
  const auto it = sequences_.find(id);
  scheduler_.Remove(id);
  ground_.truth.ReaderEnds(it->second.memory.key);
  leases_.Finish(it->second.memory.key);
  ground_.network.Send(
      it->second.call, Side::kClient,
      [reply = it->second.generate.reply, reason, status] { reply(std::nullopt, reason, status); });
  sequences_.erase(it);
}

void DecodeActor::OpenLink(LinkId link, const Hello& hello, LinkPeer peer) {
  if (hello.incarnation != options_.incarnation) {
    ground_.network.Send(link, Side::kClient, [refused = peer.refused] {
      refused(absl::AbortedError("another incarnation is meant"));
    });
    return;
  }
  ground_.network.Send(link, Side::kClient, peer.up);
  open_[link] = {.in_place = hello.in_place, .peer = std::move(peer)};
}

void DecodeActor::BeginWrite(LinkId link, const LeaseKey& key) {
  const Link& from = open_.at(link);
  std::optional<Grant> memory;
  if (auto granted = leases_.BeginWrite(key, link, from.in_place); granted.ok()) {
    if (from.in_place) {
      ground_.truth.WriterBegins(link, *granted);
    } else {
      bytes_from_[PartsOf(key)] = link;
    }
    memory = *std::move(granted);
  }
  ground_.network.Send(link, Side::kClient,
                       [verdict = from.peer.verdict, key, memory] { verdict(key, memory); });
}

void DecodeActor::EndWrite(LinkId link, const LeaseKey& key, int tokens) {
  (void)leases_.EndWrite(key, {.link = link, .tokens = tokens}, ground_.clock.Now());
  if (const auto it = bytes_from_.find(PartsOf(key)); it != bytes_from_.end() && it->second == link)
    bytes_from_.erase(it);
  ground_.network.Send(link, Side::kClient,
                       [ended = open_.at(link).peer.ended, key] { ended(key); });
}

void DecodeActor::LinkLost(LinkId link) {
  if (open_.erase(link) == 0) return;
  leases_.LinkLost(link);
  std::erase_if(bytes_from_, [link](const auto& writer) { return writer.second == link; });
  closed_.push_back(link);
}

absl::Status DecodeActor::Paste(const LeaseKey& key, const Truth::Piece& piece) {
  const absl::StatusOr<Grant> memory = leases_.WritableByBytes(key);
  if (memory.ok()) ground_.truth.Paste(PlaceOf(*memory), piece);
  return memory.status();
}

void DecodeActor::Refuse(const LeaseKey& key) {
  const Parts before = CountsOf(leases_);
  const bool refused = !leases_.BeginWrite(key, 0, true).ok() &&
                       !leases_.EndWrite(key, {.tokens = 1}, ground_.clock.Now()).ok() &&
                       !leases_.WritableByBytes(key).ok() && !leases_.Commit(key, 1).ok() &&
                       leases_.Release(key).empty();
  if (!refused || CountsOf(leases_) != before)
    ground_.truth.Fault("a lease that is not current was changed");
}

void DecodeActor::RefuseEnd(const LeaseKey& key) {
  const Parts before = CountsOf(leases_);
  const absl::Status ended = leases_.EndWrite(key, {.tokens = 1}, ground_.clock.Now());
  if (ended.ok() || CountsOf(leases_) != before)
    ground_.truth.Fault("a link that does not write ended the writing of another");
}

void DecodeActor::RefuseBytes(const LeaseKey& key) {
  if (!bytes_from_.contains(PartsOf(key)) && leases_.WritableByBytes(key).ok())
    ground_.truth.Fault("bytes are taken that nobody may send");
}

void DecodeActor::Hear(const DecodeActor& other) {
  Random& random = ground_.random;
  if (other.granted_.empty()) return;
  auto [key, reserve] = other.granted_[random.Below(other.granted_.size())];
  if (&other != this) return Refuse(key);
  switch (random.Below(5)) {
    case 0:
      key.epoch += random.OneIn(2) ? 1 : -1;
      return Refuse(key);
    case 1:
      return RefuseEnd(key);
    case 2:
      return RefuseBytes(key);
    case 3:
      return Release(key);  // once more, or too early
    default:
      // Too early, or by somebody else, or of another length: if it is answered, the rows are
      // there.
      return Generate(0, {.request = reserve.request,
                          .key = key,
                          .prompt_tokens = reserve.prompt_tokens + (random.OneIn(4) ? 1 : 0),
                          .max_tokens = reserve.max_tokens,
                          .reply = [](auto, auto, const auto&) {}});
  }
}

void DecodeActor::Tell(const std::vector<Revocation>& revocations, int writing) {
  if (writing - leases_.counts().writing != static_cast<int>(revocations.size()))
    ground_.truth.Fault("a writer whose lease has ended is not told");
  for (const Revocation& revocation : revocations) {
    bytes_from_.erase(PartsOf(revocation.key));
    const auto it = open_.find(revocation.link);
    if (it == open_.end()) continue;
    ground_.network.Send(
        revocation.link, Side::kClient,
        [revoked = it->second.peer.revoked, key = revocation.key] { revoked(key); });
  }
}

void DecodeActor::Reap() {
  const int writing = leases_.counts().writing;
  leases_expired_ += static_cast<int>(leases_.Expire(ground_.clock.Now()).size());
  if (leases_.counts().writing != writing)
    ground_.truth.Fault("time ended a lease whose writer lives");
  std::erase_if(closed_, [this](LinkId link) {
    if (ground_.truth.Mapped(link)) return false;
    leases_.LinkDead(link);
    return true;
  });
}

void DecodeActor::Check() {
  const LeaseTable::Counts counts = leases_.counts();
  const PagePool& pool = leases_.pool();
  const int leases =
      counts.granted + counts.writing + counts.filled + counts.committed + counts.quarantined;
  if (pool.pages_free() + counts.pages_held != options_.pages) {
    ground_.truth.Fault(absl::StrCat(pool.pages_free(), " pages free and ", counts.pages_held,
                                     " held, of ", options_.pages));
  }
  if (pool.slots_free() + leases != options_.slots) {
    ground_.truth.Fault(absl::StrCat(pool.slots_free(), " slots free and ", leases, " leases, of ",
                                     options_.slots));
  }
  const int bytes = static_cast<int>(bytes_from_.size());
  if (ground_.truth.Writers(options_.incarnation) > counts.writing - bytes + counts.quarantined)
    ground_.truth.Fault("somebody may write into memory that no lease holds for it");
  if (counts.committed != static_cast<int>(sequences_.size()) ||
      scheduler_.running() != counts.committed) {
    ground_.truth.Fault(absl::StrCat(counts.committed, " leases committed, ", sequences_.size(),
                                     " sequences, ", scheduler_.running(), " scheduled"));
  }
}

}  // namespace tandem
