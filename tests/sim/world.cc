// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr int kPromptMax = 20;
constexpr int kAnswerMax = 12;
constexpr int kPromptPages = kPromptMax / kSimPageTokens;
constexpr int kSequencePages = (kPromptMax + kAnswerMax) / kSimPageTokens;
constexpr int kRequestsMax = 16;
constexpr absl::Duration kLeaseTtl = absl::Seconds(2);
constexpr absl::Duration kTimeout = absl::Seconds(1);
// Peace lasts far longer than all that is on its way.
constexpr int kPeaceMax = 50'000;

}  // namespace

World::World(uint64_t seed)
    : random_(seed),
      // Scarce: a few requests fill a pool, one or two prompts a staging pool, and batches and
      // chunks are shared. What is the narrowest differs from seed to seed.
      sizes_{.pages = random_.Between(kSequencePages, 3 * kSequencePages),
             .slots = random_.Between(2, 6),
             .batch_max = random_.Between(1, 3),
             .staging_pages = random_.Between(kPromptPages, 2 * kPromptPages),
             .staging_slots = random_.Between(1, 3),
             .chunk_tokens = random_.Between(1, 9)} {
  for (int i = 0; i < kWorkers; ++i) StartDecode(i);
  for (int i = 0; i < kWorkers; ++i) StartPrefill(i);
  StartRouter();
}

void World::StartRouter() {
  if (router_ != nullptr) network_.Kill(router_->process());
  router_ = std::make_unique<RouterActor>(
      RouterActor::Options{.process = ++last_process_,
                           .reserve_timeout = kTimeout,
                           .decode_at = [this](int i) -> DecodeActor& { return *decodes_[i]; },
                           .prefill_at = [this](int i) -> PrefillActor& { return *prefills_[i]; }},
      ground_, seen_.requests);
}

void World::StartPrefill(int endpoint) {
  if (prefills_[endpoint] != nullptr) network_.Kill(prefills_[endpoint]->process());
  prefills_[endpoint] = std::make_unique<PrefillActor>(
      PrefillActor::Options{.process = ++last_process_,
                            .pool = ++last_pool_,
                            .staging_pages = sizes_.staging_pages,
                            .staging_slots = sizes_.staging_slots,
                            .chunk_tokens = sizes_.chunk_tokens,
                            .link_timeout = kTimeout,
                            .in_place = endpoint,
                            .decode_at = [this](int i) -> DecodeActor& { return *decodes_[i]; }},
      ground_);
}

void World::StartDecode(int endpoint) {
  std::unique_ptr<DecodeActor>& decode = decodes_[endpoint];
  if (decode != nullptr) {
    network_.Kill(decode->process());
    seen_.leases_expired += decode->leases_expired();
  }
  decode = std::make_unique<DecodeActor>(DecodeActor::Options{.process = ++last_process_,
                                                              .incarnation = ++last_pool_,
                                                              .pages = sizes_.pages,
                                                              .slots = sizes_.slots,
                                                              .batch_max = sizes_.batch_max,
                                                              .lease_ttl = kLeaseTtl},
                                         ground_);
}

void World::Arrive() {
  if (router_->running() >= kRequestsMax) return;
  RouterActor::Request request{.uid = ++last_request_,
                               .prompt_tokens = random_.Between(1, kPromptMax),
                               .max_tokens = random_.Between(1, kAnswerMax),
                               .prefill = random_.Below(kWorkers),
                               .decode = random_.Below(kWorkers),
                               .deadline = absl::InfiniteFuture()};
  if (random_.OneIn(2)) request.stop_token = random_.Below(kAnswerMax);
  if (random_.OneIn(3))
    request.deadline = clock_.Now() + absl::Milliseconds(random_.Between(1, 6000));
  router_->Begin(request);
}

void World::KillAny() {
  const int endpoint = random_.Below(kWorkers);
  switch (random_.Below(5)) {
    case 0:
      ++seen_.router_deaths;
      return StartRouter();
    case 1:
    case 2:
      ++seen_.prefill_deaths;
      return StartPrefill(endpoint);
    default:
      ++seen_.decode_deaths;
      return StartDecode(endpoint);
  }
}

void World::Trouble() {
  switch (random_.Below(20)) {
    case 0:
      return KillAny();
    case 1:
    case 2:
      if (const ConnectionId id = network_.AnyStanding(); id != 0) {
        network_.Break(id);
        ++seen_.connections_lost;
      }
      return;
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
      ++seen_.forgeries;
      return decodes_[random_.Below(kWorkers)]->Hear(*decodes_[random_.Below(kWorkers)]);
    default:
      return router_->CancelAny();
  }
}

void World::Work() {
  const int endpoint = random_.Below(kWorkers);
  switch (random_.Below(8)) {
    case 0:
    case 1:
      return prefills_[endpoint]->Step();
    case 2:
      return prefills_[endpoint]->Tend();
    case 3:
    case 4:
      return decodes_[endpoint]->Step();
    case 5:
      return decodes_[endpoint]->Reap();
    case 6:
      return router_->Tick();
    default:
      // Now and then a prompt takes longer than a lease that nobody has taken up.
      return clock_.Advance(random_.OneIn(50) ? 2 * kLeaseTtl
                                              : absl::Milliseconds(random_.Below(200)));
  }
}

absl::Status World::Event(bool peace) {
  ++seen_.events;
  const int kind = random_.Below(100);
  if (kind >= 3 || peace) {
    if (kind >= 60 || !network_.Deliver()) Work();
  } else if (kind < 2) {
    Arrive();
  } else {
    Trouble();
  }
  Check();
  if (truth_.fault().ok()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("event ", seen_.events, ": ", truth_.fault().message()));
}

void World::Check() {
  bool quarantine = false;
  for (const auto& decode : decodes_) {
    decode->Check();
    quarantine = quarantine || decode->leases().counts().quarantined > 0;
  }
  seen_.quarantines += quarantine ? 1 : 0;
  const int ended = seen_.requests.ended() + router_->running();
  if (ended != static_cast<int>(last_request_)) {
    truth_.Fault(absl::StrCat(ended, " of ", last_request_, " requests run or have ended once"));
  }
}

bool World::AtRest() const {
  const auto idle = [](const auto& prefill) { return prefill->Idle(); };
  const auto free = [](const auto& decode) { return decode->AllFree(); };
  return router_->running() == 0 && std::all_of(prefills_.begin(), prefills_.end(), idle) &&
         std::all_of(decodes_.begin(), decodes_.end(), free);
}

absl::Status World::Run(int events) {
  absl::Status status;
  for (int i = 0; i < events && status.ok(); ++i) status = Event(/*peace=*/false);
  for (int i = 0; i < kPeaceMax && status.ok() && !AtRest(); ++i) status = Event(/*peace=*/true);
  for (const auto& decode : decodes_) seen_.leases_expired += decode->leases_expired();
  if (!status.ok() || AtRest()) return status;
  return absl::InternalError(absl::StrCat("in peace ", router_->running(),
                                          " requests do not end, or memory does not come back"));
}

}  // namespace tandem
