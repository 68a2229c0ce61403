// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/shared/holder_watch.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "services/runtime/base/log.h"

namespace tandem {

HolderWatch::HolderWatch(const std::vector<std::unique_ptr<LoadedModel>>& parts,
                         std::function<void()> gone) {
  if (parts.empty() || !parts[0]->follows()) return;
  thread_ = std::make_unique<Thread>("weights", [this, &parts, gone = std::move(gone)] {
    const auto lives = [](const auto& part) { return part->HolderAlive(); };
    while (!stop_.WaitForNotificationWithTimeout(absl::Milliseconds(200))) {
      if (std::all_of(parts.begin(), parts.end(), lives)) continue;
      gone_.Notify();
      LogError("weights-holder-gone", {{"why", std::string(status().message())}});
      return gone();
    }
  });
}

HolderWatch::~HolderWatch() {
  stop_.Notify();
}

absl::Status HolderWatch::status() const {
  if (!gone_.HasBeenNotified()) return absl::OkStatus();
  return absl::UnavailableError(
      "weights: WEIGHTS_SHARED: the decode worker that held them is gone");
}

}  // namespace tandem
