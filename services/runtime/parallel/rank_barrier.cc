// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/parallel/rank_barrier.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

// Ranks come close behind each other: looking again is mostly faster than to be woken.
constexpr absl::Duration kLook = absl::Microseconds(30);

}  // namespace

RankBarrier::RankBarrier(int ranks, absl::Duration limit)
    : limit_(limit), here_(static_cast<size_t>(ranks)) {}

absl::Status RankBarrier::Meet(int rank) {
  const absl::Time begin = absl::Now();
  uint64_t round = 0;
  {
    const absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) return failure_;
    CHECK(!here_[rank]);
    here_[rank] = true;
    round = rounds_.load(std::memory_order_relaxed);
    if (++count_ == here_.size()) {
      count_ = 0;
      here_.assign(here_.size(), false);
      rounds_.store(round + 1, std::memory_order_release);
      return absl::OkStatus();
    }
  }
  const auto over = [&] { return rounds_.load(std::memory_order_acquire) != round; };
  return LookFor(kLook, over) ? absl::OkStatus() : Wait(round, begin + limit_);
}

absl::Status RankBarrier::Wait(uint64_t round, absl::Time until) {
  const absl::MutexLock lock(&mutex_);
  const auto over = [this, round]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return rounds_.load(std::memory_order_relaxed) != round || !failure_.ok();
  };
  mutex_.AwaitWithDeadline(absl::Condition(&over), until);
  if (rounds_.load(std::memory_order_relaxed) != round) return absl::OkStatus();
  if (failure_.ok()) failure_ = Missing();
  return failure_;
}

absl::Status RankBarrier::Missing() const {
  std::string ranks;
  for (size_t r = 0; r < here_.size(); ++r) {
    if (!here_[r]) absl::StrAppend(&ranks, ranks.empty() ? "" : ", ", r);
  }
  return absl::DeadlineExceededError(
      absl::StrCat("waited ", absl::FormatDuration(limit_), " in vain for rank ", ranks));
}

void RankBarrier::Fail(const absl::Status& why) {
  const absl::MutexLock lock(&mutex_);
  if (failure_.ok()) failure_ = why;
}

absl::Status RankBarrier::failure() const {
  const absl::MutexLock lock(&mutex_);
  return failure_;
}

}  // namespace tandem
