// SPDX-License-Identifier: Apache-2.0
// The addresses behind a name: of a headless Service that is one for each pod. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tandem {

// "[::1]:80" → "::1".
std::string HostOf(absl::string_view endpoint);

// host:port → address:port of all, sorted, each once. Waits for the name service, for seconds when
// that is down. UNAVAILABLE names what has no address.
absl::StatusOr<std::vector<std::string>> AddressesOf(const std::string& endpoint);

}  // namespace tandem
