// SPDX-License-Identifier: Apache-2.0
#include "services/router/workers/readiness.h"

#include <optional>
#include <utility>

#include "absl/time/time.h"

namespace tandem {
namespace {

// A fraction of any probe's period, and of no weight: a look takes microseconds.
constexpr absl::Duration kLookInterval = absl::Milliseconds(100);

}  // namespace

Readiness::Readiness(const WorkerTable& workers, std::function<void(const WorkersUp&)> tell)
    : workers_(workers), tell_(std::move(tell)), thread_("readiness", [this] { Run(); }) {}

Readiness::~Readiness() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
}

void Readiness::Run() {
  std::optional<WorkersUp> told;
  while (true) {
    const WorkersUp up = workers_.Up();
    if (up != told) tell_(up);
    told = up;
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kLookInterval)) return;
  }
}

}  // namespace tandem
