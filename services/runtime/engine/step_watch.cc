// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/step_watch.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"

namespace tandem {
namespace {

constexpr int kLooks = 60;  // within the limit

}  // namespace

StepWatch::StepWatch(std::string device, absl::Duration limit)
    : device_(std::move(device)), limit_(limit), thread_("step-watch", [this] { Watch(); }) {}

StepWatch::~StepWatch() {
  const absl::MutexLock lock(&mutex_);
  closed_ = true;
}

void StepWatch::Watch() {
  int64_t seen = 0;
  int looks = 0;
  const absl::MutexLock lock(&mutex_);
  while (!mutex_.AwaitWithTimeout(absl::Condition(&closed_), limit_ / kLooks)) {
    const int64_t running = running_;
    looks = running != 0 && running == seen ? looks + 1 : 0;
    seen = running;
    if (looks < kLooks) continue;
    CheckFailed(
        __FILE__, __LINE__,
        absl::StrCat(device_, ": a step has not ended within ", absl::FormatDuration(limit_)));
  }
}

}  // namespace tandem
