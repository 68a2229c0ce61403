// SPDX-License-Identifier: Apache-2.0
// Whether a process has nothing left of a load that has ended: no request in flight or queued, no
// lease, no page in use. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "services/tools/load/check/scrape.h"

namespace tandem {

// What is not at rest, a line each: "tandem_kv_leases{state="committed"} is 1". A process that has
// none of the series that are looked at is not at rest either.
std::vector<std::string> BusySeries(const std::vector<ScrapedSample>& samples);

// Asks every process until all are at rest or `timeout` is over, since the last requests end in the
// workers after they end here. What was wrong at the last look, each line with its process.
std::vector<std::string> CheckIdle(const std::vector<MetricsUrl>& urls, absl::Duration timeout);

}  // namespace tandem
