// SPDX-License-Identifier: Apache-2.0
// A LoadResult as JSON, schema "tandem.load/1": our names with their unit last, and beside them the
// flat names that `vllm bench serve` writes, so that scripts made for those work. A file holds one
// run, or {"schema", "runs": [...]} of a sweep. What is read back equals what was written, to the
// microsecond. Pure functions but for Read and Write; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/tools/load/result/load_result.h"

namespace tandem {

inline constexpr absl::string_view kLoadSchema = "tandem.load/1";

// At least one run.
std::string ToJson(absl::Span<const LoadResult> runs);
// INVALID_ARGUMENT that names the first field that is missing or wrong, and what it holds.
absl::StatusOr<std::vector<LoadResult>> FromJson(absl::string_view text);

// The same with files; errors name the path as well.
absl::Status WriteResultFile(const std::string& path, absl::Span<const LoadResult> runs);
absl::StatusOr<std::vector<LoadResult>> ReadResultFile(const std::string& path);

}  // namespace tandem
