// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/bpe/regex_dialect.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr absl::string_view kWhiteSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a})"
    R"(\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr absl::string_view kSharedEscapes = "pPdDrntfv";  // Same meaning in both dialects.

absl::Status Refused(absl::string_view pattern, size_t at, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("regular expression ", pattern, ": ", why,
                                                 " at byte ", at, " is not supported"));
}

// Writes the escape of `letter` to `out`; false where the dialects differ.
bool WriteEscape(char letter, bool in_class, std::string* out) {
  if (letter == 's' && in_class) {
    absl::StrAppend(out, kWhiteSpace);
  } else if ((letter == 's' || letter == 'S') && !in_class) {
    absl::StrAppend(out, letter == 's' ? "[" : "[^", kWhiteSpace, "]");
  } else if (absl::StrContains(kSharedEscapes, letter) || absl::ascii_ispunct(letter)) {
    absl::StrAppend(out, "\\", absl::string_view(&letter, 1));
  } else {
    return false;
  }
  return true;
}

bool IsSharedGroup(absl::string_view rest) {
  return !absl::StartsWith(rest, "(?") || absl::StartsWith(rest, "(?:") ||
         absl::StartsWith(rest, "(?=") || absl::StartsWith(rest, "(?!");
}

}  // namespace

absl::StatusOr<std::string> PcrePattern(absl::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      if (i + 1 == pattern.size()) return Refused(pattern, i, "a trailing backslash");
      if (!WriteEscape(pattern[++i], in_class, &out)) {
        return Refused(pattern, i, absl::StrCat("\\", pattern.substr(i, 1)));
      }
      continue;
    }
    if (in_class && c == '[') return Refused(pattern, i, "a class inside a class");
    if (in_class && absl::StartsWith(pattern.substr(i), "&&")) {
      return Refused(pattern, i, "&& inside a class");
    }
    if (!in_class && c == '(' &&
        (!IsSharedGroup(pattern.substr(i)) || absl::StartsWith(pattern.substr(i), "(*"))) {
      return Refused(pattern, i, "this kind of group");
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    out.push_back(c);
  }
  return out;
}

}  // namespace tandem
