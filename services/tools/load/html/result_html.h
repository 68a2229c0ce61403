// SPDX-License-Identifier: Apache-2.0
// The report: one HTML file with style, script and plots in it, which loads nothing from anywhere.
// Several runs are set side by side, then shown one by one. Pure but for Write; thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "services/tools/load/result/load_result.h"

namespace tandem {

// At least one run.
std::string ToHtmlPage(absl::Span<const LoadResult> runs);

// Errors name the path.
absl::Status WriteHtmlFile(const std::string& path, absl::Span<const LoadResult> runs);

}  // namespace tandem
