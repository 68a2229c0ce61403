// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/modes/ticker.h"

#include <utility>

namespace tandem {

Ticker::Ticker(absl::Duration interval, std::function<void()> tick)
    : thread_("load-ticker", [this, interval, tick = std::move(tick)] {
        while (true) {
          {
            absl::MutexLock lock(&mutex_);
            if (mutex_.AwaitWithTimeout(absl::Condition(&over_), interval)) return;
          }
          tick();
        }
      }) {}

Ticker::~Ticker() {
  absl::MutexLock lock(&mutex_);
  over_ = true;
}

}  // namespace tandem
