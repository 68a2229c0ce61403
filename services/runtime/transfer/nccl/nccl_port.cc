// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/nccl/nccl_port.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"

namespace tandem {

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
  for (std::vector<Lane>& lanes : free_) {
    for (Lane& lane : lanes) lane.backend->Release(lane.memory);
  }
}

absl::StatusOr<std::vector<NcclPort::Lane>> NcclPort::Take(int ranks) {
  CHECK_LE(static_cast<size_t>(ranks), backends_.size());
  absl::MutexLock lock(&mutex_);
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

void NcclPort::Give(std::vector<Lane> lanes) {
  absl::MutexLock lock(&mutex_);
  --taken_;
  for (size_t r = 0; r < lanes.size(); ++r) free_[r].push_back(std::move(lanes[r]));
}

}  // namespace tandem
