// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/nccl/nccl_parts.h"

#include <utility>
#include <vector>

namespace tandem {
namespace {

using Done = std::function<void(absl::Status)>;

constexpr std::atomic<bool> kGivenUp = true;

}  // namespace

void NcclParts::Ask(const LeaseKey& key, NcclEnd::Order order) {
  {
    absl::MutexLock lock(&mutex_);
    if (!ended_) {
      asked_.push_back({.key = key, .order = std::move(order)});
      return;
    }
  }
  order.done(absl::UnavailableError("nccl: the link is over"));
}

bool NcclParts::Answer(const LeaseKey& key, bool accepted, NcclEnd& end) {
  NcclEnd::Order order;
  {
    absl::MutexLock lock(&mutex_);
    if (asked_.empty() || asked_.front().key != key) return false;
    order = std::move(asked_.front().order);
    asked_.pop_front();
    // Under the lock: whoever gives the lease up finds the order here or there.
    if (accepted) {
      end.Do(std::move(order));
      return true;
    }
  }
  order.done(absl::AbortedError("the decode worker does not know the reservation any more"));
  return true;
}

void NcclParts::GiveUp(const LeaseKey& key) {
  std::vector<Done> given_up;
  {
    absl::MutexLock lock(&mutex_);
    for (Asked& asked : asked_) {
      if (asked.key != key) continue;
      given_up.push_back(std::move(asked.order.done));
      asked.order.done = [](const absl::Status&) {};
      asked.order.cancelled = &kGivenUp;
    }
  }
  for (const Done& done : given_up) done(absl::CancelledError("the hand-off was given up"));
}

void NcclParts::End() {
  std::deque<Asked> rest;
  {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
    rest.swap(asked_);
  }
  for (const Asked& asked : rest)
    asked.order.done(absl::UnavailableError("nccl: the link is over"));
}

}  // namespace tandem
