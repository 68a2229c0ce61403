// SPDX-License-Identifier: Apache-2.0
// The part of the report's page that shows one run: tiles, plots, tables. Pure; thread-safe.
#pragma once

#include <string>

#include "services/tools/load/result/load_result.h"

namespace tandem {

// Chips that say whether anything is wrong, and tiles with the numbers one asks for first.
std::string RunSummaryHtml(const LoadResult& result);
// Percentile curves, stages, timeline.
std::string RunChartsHtml(const LoadResult& result);
// Every number, the options and the environment.
std::string RunTablesHtml(const LoadResult& result);

}  // namespace tandem
