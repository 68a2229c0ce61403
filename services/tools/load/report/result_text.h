// SPDX-License-Identifier: Apache-2.0
// A result as text for a terminal: the table at the end of a run, the line of one run of a sweep.
// Pure functions; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "services/tools/load/result/load_result.h"

namespace tandem {

// Everything that matters, in one screen of 100 columns; ends with a line break.
std::string ResultText(const LoadResult& result);

// One line a run, under a line of titles.
std::string SweepText(absl::Span<const LoadResult> runs);

// Why the run may have measured the client instead of the server; empty when it did not.
std::vector<std::string> ClientWarnings(const LoadResult& result);

// "ttft 400 ms, tpot 40 ms"; empty without limits.
std::string SloText(const Slo& slo);

}  // namespace tandem
