// SPDX-License-Identifier: Apache-2.0
#include "tests/services/runtime/transfer/nccl/fake_nccl.h"

#include <algorithm>
#include <cstring>

#include "absl/time/clock.h"

namespace tandem {

int FakeNccl::alive() {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(
      std::count_if(all_.begin(), all_.end(), [](const auto& rank) { return !rank->aborted; }));
}

absl::StatusOr<std::string> FakeNccl::NewId() {
  if (no_id) return absl::UnavailableError("nccl: there is no network");
  std::string id = std::to_string(++ids_);
  id.resize(kIdBytes);
  return id;
}

absl::Status FakeNccl::Join(const JoinArgs& args, Comm* comm) {
  if (refuses) return absl::UnavailableError("nccl: join: two ranks on one GPU");
  absl::MutexLock lock(&mutex_);
  World& world = worlds_[args.id];
  world.ranks = args.ranks;
  all_.push_back(std::make_unique<Rank>());
  Rank* const rank = all_.back().get();
  rank->world = &world;
  rank->rank = args.rank;
  world.joined[args.rank] = rank;
  *comm = rank;
  return absl::OkStatus();
}

absl::Status FakeNccl::Send(Comm comm, const Message& message) {
  absl::MutexLock lock(&mutex_);
  static_cast<Rank*>(comm)->sends.push_back(message);
  return absl::OkStatus();
}

absl::Status FakeNccl::Receive(Comm comm, const Message& message) {
  absl::MutexLock lock(&mutex_);
  static_cast<Rank*>(comm)->receives.push_back(message);
  return absl::OkStatus();
}

// First sent, first received, for each pair of ranks.
void FakeNccl::Move(World& world) {
  for (auto& [to, receiver] : world.joined) {
    while (!receiver->receives.empty() && !receiver->aborted) {
      const Message& wanted = receiver->receives.front();
      const auto sender = world.joined.find(wanted.peer);
      if (sender == world.joined.end() || sender->second->aborted) break;
      std::deque<Message>& sends = sender->second->sends;
      const auto sent = std::find_if(sends.begin(), sends.end(), [to = to](const Message& message) {
        return message.peer == to;
      });
      if (sent == sends.end()) break;
      if (sent->bytes != wanted.bytes) break;  // for ever, as it would be
      std::memcpy(wanted.memory, sent->memory, static_cast<size_t>(wanted.bytes));
      if (corrupts) ++*static_cast<char*>(wanted.memory);
      ++messages_;
      sends.erase(sent);
      receiver->receives.pop_front();
    }
  }
}

absl::StatusOr<bool> FakeNccl::Poll(Comm comm) {
  absl::MutexLock lock(&mutex_);
  Rank& rank = *static_cast<Rank*>(comm);
  if (static_cast<int>(rank.world->joined.size()) < rank.world->ranks) return false;
  if (!stuck) Move(*rank.world);
  return rank.sends.empty() && rank.receives.empty();
}

void FakeNccl::Abort(Comm comm) {
  {
    absl::MutexLock lock(&mutex_);
    Rank& rank = *static_cast<Rank*>(comm);
    rank.aborted = true;
    rank.sends.clear();
    rank.receives.clear();
  }
  while (abort_waits) absl::SleepFor(absl::Milliseconds(1));
}

}  // namespace tandem
