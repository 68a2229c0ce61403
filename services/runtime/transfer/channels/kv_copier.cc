// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/channels/kv_copier.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"

namespace tandem {
namespace {

// A chunk takes a fraction of a millisecond; what takes longer leaves the processor to others.
constexpr absl::Duration kLook = absl::Milliseconds(2);
constexpr absl::Duration kPoll = absl::Microseconds(50);

}  // namespace

KvCopier::KvCopier(KvStorage::Backends backends, absl::Duration limit)
    : limit_(limit),
      ranks_([backends] {
        std::vector<Rank> ranks;
        for (kernels::Backend* backend : backends) {
          ranks.push_back({.backend = backend, .stream = backend->MakeStream()});
        }
        return ranks;
      }()),
      thread_("kv-copier", [this] { Run(); }) {}

KvCopier::~KvCopier() {
  stopping_ = true;
  orders_.Close();
}

void KvCopier::Run() {
  while (true) {
    // Read before the queue: what was ordered before the end is found there.
    const bool stopping = stopping_;
    const std::vector<Order> orders = orders_.PopAll(absl::InfiniteDuration());
    for (const Order& order : orders) order.done(Execute(order));
    if (stopping && orders.empty()) return;
  }
}

absl::Status KvCopier::Execute(const Order& order) {
  if (*order.cancelled) return absl::CancelledError("the hand-off was given up");
  std::vector<kernels::CopyArgs> copies;
  for (size_t r = 0; r < ranks_.size(); ++r) {
    copies.clear();
    for (const KvCopy& copy : order.copies) {
      copies.push_back({.to = order.to->view().copies[r] + copy.to,
                        .from = order.from->view().copies[r] + copy.from,
                        .bytes = static_cast<int64_t>(copy.bytes)});
    }
    ranks_[r].backend->CopyMany(copies, ranks_[r].stream);
  }
  absl::Status status;
  for (Rank& rank : ranks_) {
    Await(rank);
    if (rank.stream.ok() || !status.ok()) continue;
    status =
        absl::UnavailableError(absl::StrCat("copy to the decode worker: ", rank.stream.error()));
  }
  return status;
}

void KvCopier::Await(Rank& rank) const {
  const auto finished = [&rank] { return rank.backend->Finished(rank.stream); };
  const absl::Time begin = Clock::Real().Now();
  if (LookFor(kLook, finished)) return;
  while (!finished()) {
    if (Clock::Real().Now() - begin > limit_) {
      CheckFailed(__FILE__, __LINE__,
                  absl::StrCat("copies to a decode worker: ", rank.backend->Describe(),
                               " has not done them within ", absl::FormatDuration(limit_)));
    }
    absl::SleepFor(kPoll);
  }
}

}  // namespace tandem
