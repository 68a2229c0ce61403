// SPDX-License-Identifier: Apache-2.0
#include "services/router/keys/key_file.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

constexpr size_t kHashDigits = 64;
constexpr size_t kNameBytesMax = 64;
constexpr double kRateMin = 0.001;
constexpr double kRateMax = 1e6;

absl::StatusOr<double> NumberOf(absl::string_view what, absl::string_view text) {
  double number = 0;
  // NaN fails both comparisons.
  if (absl::SimpleAtod(text, &number) && number >= kRateMin && number <= kRateMax) return number;
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": \"", text, "\" is no number from ", kRateMin, " to ", kRateMax));
}

// A line's words → a hash and its key.
absl::StatusOr<KeyRing::value_type> KeyOf(const std::vector<absl::string_view>& words) {
  if (words.size() < 2 || words.size() > 4) {
    return absl::InvalidArgumentError(absl::StrCat(
        "NAME SHA256 [REQUESTS_PER_SECOND [BURST]] expected, got ", words.size(), " words"));
  }
  if (words[0].size() > kNameBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("NAME: at most ", kNameBytesMax, " bytes, got ", words[0].size()));
  }
  // What is no hash might be the key itself: it is not repeated.
  const bool is_hash = words[1].size() == kHashDigits &&
                       std::all_of(words[1].begin(), words[1].end(), absl::ascii_isxdigit);
  if (!is_hash) {
    return absl::InvalidArgumentError(
        absl::StrCat("SHA256: 64 hexadecimal digits expected, got ", words[1].size(), " bytes"));
  }
  ApiKey key{.name = std::string(words[0])};
  if (words.size() > 2) {
    ASSIGN_OR_RETURN(key.rate.per_second, NumberOf("REQUESTS_PER_SECOND", words[2]));
    key.rate.burst = std::max(1.0, key.rate.per_second);
  }
  if (words.size() > 3) {
    ASSIGN_OR_RETURN(key.rate.burst, NumberOf("BURST", words[3]));
  }
  key.rate.burst = std::max(1.0, key.rate.burst);
  return KeyRing::value_type(absl::HexStringToBytes(words[1]), std::move(key));
}

}  // namespace

absl::StatusOr<KeyRing> ParseKeyFile(absl::string_view text) {
  KeyRing keys;
  std::set<std::string> names;
  int line_number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    line = line.substr(0, line.find('#'));
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) continue;
    absl::StatusOr<KeyRing::value_type> key = KeyOf(words);
    if (!key.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", line_number, ": ", key.status().message()));
    }
    if (!names.insert(key->second.name).second || !keys.insert(*std::move(key)).second)
      return absl::InvalidArgumentError(
          absl::StrCat("line ", line_number, ": a name or a key that an earlier line has"));
  }
  if (keys.empty()) return absl::InvalidArgumentError("it holds no key");
  return keys;
}

}  // namespace tandem
