// SPDX-License-Identifier: Apache-2.0
// A file that a flag names, whole. Thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace tandem {

// NOT_FOUND names the path and what the system says.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace tandem
