// SPDX-License-Identifier: Apache-2.0
// Structured log: one line an event on stderr, `time level role event key=value …`. Thread-safe.
// Values with spaces, quotes or control characters are quoted and escaped, so that a line stays a
// line. Prompts, answers and keys are never logged.
#pragma once

#include <initializer_list>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tandem {

// A field without a key is left out.
struct LogField {
  LogField(absl::string_view k, const absl::AlphaNum& v) : key(k), value(v.Piece()) {}
  absl::string_view key;
  std::string value;
};

// Without a value the field is left out.
inline LogField OptionalField(absl::string_view key, absl::string_view value) {
  return {value.empty() ? "" : key, value};
}

// What stands in the third column: router, prefill, decode. Called once, before threads start.
void SetLogRole(absl::string_view role);

void LogInfo(absl::string_view event, std::initializer_list<LogField> fields = {});
void LogWarning(absl::string_view event, std::initializer_list<LogField> fields = {});
void LogError(absl::string_view event, std::initializer_list<LogField> fields = {});

}  // namespace tandem
