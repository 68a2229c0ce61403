// SPDX-License-Identifier: Apache-2.0
// A LoadResult as one row of a CSV file (RFC 4180, units in the column names). Columns are only
// ever added at the end. Thread-safe, but two writers of one file are not kept apart.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "services/tools/load/result/load_result.h"

namespace tandem {

// Both with their line break.
std::string CsvHeader();
std::string CsvRow(const LoadResult& result);

// Adds a row a run; a file that is new or empty gets the header first. FAILED_PRECONDITION when the
// file starts with another header.
absl::Status AppendCsv(const std::string& path, absl::Span<const LoadResult> runs);

}  // namespace tandem
