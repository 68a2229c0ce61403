// SPDX-License-Identifier: Apache-2.0
// The part of the report's page that sets several runs side by side: latency against throughput,
// goodput against load, a row a run. Pure; thread-safe.
#pragma once

#include <string>

#include "absl/types/span.h"
#include "services/tools/load/result/load_result.h"

namespace tandem {

// At least two runs, in the order of the sweep.
std::string SweepHtml(absl::Span<const LoadResult> runs);

}  // namespace tandem
