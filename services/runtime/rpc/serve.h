// SPDX-License-Identifier: Apache-2.0
// ServeUntilSignal: the second half of every main(): wait for SIGTERM, drain, stop.
#pragma once

#include <functional>

#include "absl/time/time.h"
#include "services/runtime/rpc/server.h"
#include "services/runtime/rpc/signals.h"

namespace tandem {

struct Serving {
  RpcServer& server;
  ShutdownSignals& signals;
  absl::Duration drain_timeout;  // for what runs when the signal comes
  std::function<void()> drain;   // take nothing new
  std::function<bool()> idle;    // nothing runs any more
  std::function<void()> close;   // end the streams that never end by themselves
};

// Returns when no call is left. Health says NOT_SERVING from the signal on.
void ServeUntilSignal(const Serving& serving);

}  // namespace tandem
