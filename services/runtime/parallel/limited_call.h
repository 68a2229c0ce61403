// SPDX-License-Identifier: Apache-2.0
// RunWithin: a call of a library that knows no limit, waited for up to one.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace tandem {

struct LimitedCall {
  std::string what;  // for the error; its beginning names the thread
  absl::Duration limit;
  // On a thread of its own. What it uses stays as long as it runs, which may be for ever.
  std::function<void()> run;
  // Behind it, on its thread, where it came back too late: nobody else has what it made.
  std::function<void()> came_late;
};

// OK once it has come back. DEADLINE_EXCEEDED naming what and the limit: its thread is left to it,
// and ends with the process if the call does not end before.
absl::Status RunWithin(LimitedCall call);

}  // namespace tandem
