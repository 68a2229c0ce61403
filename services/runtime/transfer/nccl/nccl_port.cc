// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/nccl/nccl_port.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

// For the other side, when this process ends.
constexpr absl::Duration kPatience = absl::Seconds(2);

}  // namespace

class NcclPort::Ending {
 public:
  Ending(Nccl& nccl, std::vector<Nccl::Comm> comms)
      : thread_("nccl-abort", [this, &nccl, comms = std::move(comms)] {
          nccl.GroupStart();
          for (const Nccl::Comm comm : comms) nccl.Abort(comm);
          (void)nccl.GroupEnd();
          ended = true;
        }) {}

  std::atomic<bool> ended = false;
  std::vector<Lane> lanes;  // of the port's mutex

 private:
  Thread thread_;  // last: it uses the above
};

std::unique_ptr<NcclPort> NcclPort::Find(KvStorage::Backends backends, std::string* why) {
  if (backends[0]->ReadsHost()) {
    *why = "this worker computes on the CPU";
    return nullptr;
  }
  Nccl* const nccl = Nccl::Find(why);
  return nccl == nullptr ? nullptr : std::make_unique<NcclPort>(*nccl, backends);
}

NcclPort::NcclPort(Nccl& nccl, KvStorage::Backends backends)
    : nccl_(nccl), backends_(backends.begin(), backends.end()), free_(backends.size()) {}

NcclPort::~NcclPort() {
  const absl::Time deadline = absl::Now() + kPatience;
  absl::MutexLock lock(&mutex_);
  while (!Reap() && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(1));
  if (!ending_.empty()) LogError("nccl-abort-stuck", {{"links", ending_.size()}});
  // Their threads end with the process.
  for (std::unique_ptr<Ending>& ending : ending_) (void)ending.release();
  for (std::vector<Lane>& lanes : free_) {
    for (Lane& lane : lanes) lane.backend->Release(lane.memory);
  }
}

absl::StatusOr<std::vector<NcclPort::Lane>> NcclPort::Take(int ranks) {
  CHECK_LE(static_cast<size_t>(ranks), backends_.size());
  absl::MutexLock lock(&mutex_);
  (void)Reap();
  if (taken_ == kLinksMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("nccl: at most ", kLinksMax, " links at once"));
  }
  for (int r = 0; r < ranks; ++r) {
    if (!free_[r].empty()) continue;
    uint8_t* const memory = backends_[r]->Allocate(kMessageBytes);
    if (memory == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "nccl: ", backends_[r]->Describe(), " has no ", kMessageBytes, " bytes for messages"));
    }
    free_[r].push_back(
        {.backend = backends_[r], .stream = backends_[r]->MakeStream(), .memory = memory});
  }
  std::vector<Lane> lanes;
  for (int r = 0; r < ranks; ++r) {
    lanes.push_back(std::move(free_[r].back()));
    free_[r].pop_back();
  }
  ++taken_;
  return lanes;
}

NcclPort::Ending* NcclPort::Abort(std::vector<Nccl::Comm> comms) {
  absl::MutexLock lock(&mutex_);
  return ending_.emplace_back(std::make_unique<Ending>(nccl_, std::move(comms))).get();
}

void NcclPort::Give(std::vector<Lane> lanes, Ending* ending) {
  absl::MutexLock lock(&mutex_);
  if (ending == nullptr) return Keep(std::move(lanes));
  ending->lanes = std::move(lanes);
  (void)Reap();
}

void NcclPort::Keep(std::vector<Lane> lanes) {
  --taken_;
  for (size_t r = 0; r < lanes.size(); ++r) free_[r].push_back(std::move(lanes[r]));
}

bool NcclPort::Reap() {
  std::erase_if(ending_, [this](const std::unique_ptr<Ending>& ending) {
    mutex_.AssertHeld();
    if (!ending->ended || ending->lanes.empty()) return false;
    Keep(std::move(ending->lanes));
    return true;
  });
  return ending_.empty();
}

}  // namespace tandem
