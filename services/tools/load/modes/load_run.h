// SPDX-License-Identifier: Apache-2.0
// One load run against a server that serves: driver, recorder, what looks at them meanwhile, and
// the checks after it. Blocking; one at a time.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/tools/load/drive/driver.h"
#include "services/tools/load/drive/target.h"
#include "services/tools/load/options/load_options.h"
#include "services/tools/load/result/load_result.h"
#include "services/tools/load/result/recorder.h"

namespace tandem {

// Waits until the target serves, asks what it serves, and compares its limits with the plan's.
absl::StatusOr<TargetInfo> PrepareTarget(const LoadOptions& options);

// Borrowed for one run.
struct RunParts {
  const TargetInfo& target;
  const std::atomic<bool>& interrupted;
  bool live = false;  // the live view, on stderr
  // Called so often with how it goes, from a thread of its own; null = never.
  absl::Duration interval;
  std::function<void(const LoadSnapshot&)> look;
};

struct RunOutcome {
  LoadResult result;
  DriveOutcome drive;
};
RunOutcome RunOnce(const LoadOptions& options, const RunParts& parts, const std::string& label);

// Whether a run is a failure for CI: a failed check, a request that failed but for overload, or
// nothing completed at all.
bool Failed(const RunOutcome& outcome);

// Resident memory of this process, in bytes.
uint64_t ResidentBytes();

}  // namespace tandem
