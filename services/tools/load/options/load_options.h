// SPDX-License-Identifier: Apache-2.0
// The flags of `tandem load run|sweep|search|soak` and what they say, checked as far as that goes
// without a server. Pure but for the files that flags name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/tools/flags.h"
#include "services/tools/load/check/golden.h"
#include "services/tools/load/check/scrape.h"
#include "services/tools/load/drive/driver.h"
#include "services/tools/load/plan/plan.h"
#include "services/tools/load/result/load_result.h"

namespace tandem {

enum class Mode { kRun, kSweep, kSearch, kSoak };

struct LoadOptions {
  DriveOptions drive;
  uint32_t channels = 4;    // connections that share the load
  PlanSpec plan;            // shape, lengths, shares
  absl::Duration duration;  // after the warm-up; infinite when requests or a trace end the run
  std::vector<Golden> goldens;
  std::vector<MetricsUrl> check_idle;
  absl::Duration idle_timeout = absl::Seconds(10);
  Slo slo;
  absl::Duration ready_timeout = absl::Seconds(10);

  std::string json;  // files to write; empty = none
  std::string csv;
  std::string html;
  bool quiet = false;
  bool dry_run = false;

  // Sweep: one of both.
  std::vector<double> rates;
  std::vector<uint32_t> concurrencies;
  // Search.
  double goodput = 0.95;
  double rate_low = 1;
  double rate_high = kRateMax;
  double precision = 0.05;  // of the rate that is found
  // Soak.
  absl::Duration interval = absl::Seconds(60);

  NameValues given;  // flags as they were written
};

struct FlagGroup {
  std::string title;
  std::vector<FlagSpec> flags;
};
std::vector<FlagGroup> LoadFlagGroups(Mode mode);
std::vector<FlagSpec> LoadFlags(Mode mode);  // of all groups
absl::StatusOr<LoadOptions> ParseLoadOptions(Mode mode, const Flags& flags);

// The same options at another rate (kind of arrivals kept) or concurrency.
LoadOptions AtRate(LoadOptions options, double rate);
LoadOptions AtConcurrency(LoadOptions options, uint32_t concurrency);

}  // namespace tandem
