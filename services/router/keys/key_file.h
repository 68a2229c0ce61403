// SPDX-License-Identifier: Apache-2.0
// The text of an API key file: a line a key, `#` begins a comment.
//
//   NAME SHA256 [REQUESTS_PER_SECOND [BURST]]
//
// NAME stands in the log; SHA256 is the key's hash in 64 hexadecimal digits, so that the file holds
// no key. Without a rate there is no limit; BURST defaults to the rate, at least 1. Pure.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/router/keys/rate_limit.h"

namespace tandem {

struct ApiKey {
  std::string name;
  Rate rate;
};
// By hash, 32 bytes.
using KeyRing = std::map<std::string, ApiKey>;

// INVALID_ARGUMENT names the line and what is wrong. At least one key.
absl::StatusOr<KeyRing> ParseKeyFile(absl::string_view text);

}  // namespace tandem
