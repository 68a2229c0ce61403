// SPDX-License-Identifier: Apache-2.0
// tokenizer.json writes regular expressions in Oniguruma's dialect; PCRE2 runs them: the bridge.
//
// Most of the syntax means the same in both (UTF and UCP on). \s and \S are spelled out as
// Unicode's White_Space: PCRE2 would add U+180E. Whatever else the two might read differently is
// refused, never guessed: other escapes of letters (\w, \b, \h, …), nested or intersected classes,
// POSIX classes, groups other than (?:, (?=, (?! and plain ones.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tandem {

// `pattern` for PCRE2, or INVALID_ARGUMENT that names the construct.
absl::StatusOr<std::string> PcrePattern(absl::string_view pattern);

}  // namespace tandem
