// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/serve.h"

#include "absl/time/clock.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/log.h"

namespace tandem {

void ServeUntilSignal(const Serving& serving) {
  const int signal = serving.signals.Wait();
  LogInfo("draining",
          {{"signal", signal}, {"timeout", absl::FormatDuration(serving.drain_timeout)}});
  serving.server.SetServing(false);
  serving.drain();
  const absl::Time limit = Clock::Real().Now() + serving.drain_timeout;
  while (!serving.idle() && Clock::Real().Now() < limit) absl::SleepFor(absl::Milliseconds(20));
  LogInfo("stopping", {{"idle", serving.idle() ? "yes" : "no"}});
  serving.close();
  serving.server.Shutdown(absl::Milliseconds(200));
}

}  // namespace tandem
