// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/options/flag_reader.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace tandem {

void FlagReader::Wrong(absl::string_view name, const std::string& message) {
  status_.Update(absl::InvalidArgumentError(absl::StrCat("--", name, ": ", message)));
}

std::optional<uint64_t> FlagReader::Whole(absl::string_view name, WholeLimits limits) {
  if (!Has(name)) return std::nullopt;
  uint64_t value = 0;
  if (!absl::SimpleAtoi(Text(name), &value) || value < limits.low || value > limits.high) {
    Wrong(name, absl::StrCat("\"", Text(name), "\" is no whole number from ", limits.low, " to ",
                             limits.high));
  }
  return value;
}

double FlagReader::Piece(absl::string_view name, absl::string_view text, Limits limits) {
  double value = 0;
  if (!absl::SimpleAtod(text, &value) || !(value >= limits.low && value <= limits.high)) {
    Wrong(name, absl::StrCat("\"", text, "\" is no number from ", limits.low, " to ", limits.high));
  }
  return value;
}

std::optional<double> FlagReader::Number(absl::string_view name, Limits limits) {
  if (!Has(name)) return std::nullopt;
  return Piece(name, Text(name), limits);
}

std::optional<absl::Duration> FlagReader::Time(absl::string_view name, TimeLimits limits) {
  if (!Has(name)) return std::nullopt;
  absl::Duration value;
  if (!absl::ParseDuration(Text(name), &value) || value < limits.low || value > limits.high) {
    Wrong(name, absl::StrCat("\"", Text(name), "\" is no duration from ",
                             absl::FormatDuration(limits.low), " to ",
                             absl::FormatDuration(limits.high), " (10s, 2m)"));
  }
  return value;
}

}  // namespace tandem
