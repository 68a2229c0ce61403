// SPDX-License-Identifier: Apache-2.0
// Goal: the match that ends first, the longest of those, at every cut; and nothing held back that
// can not be one.
#include "services/runtime/text/chat/multi_match.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

// Text with each match as [index], fed in parts of `size` bytes; "|" shows where a part's passed
// text ends.
std::string Show(const MultiMatch& strings, absl::string_view text, size_t size,
                 bool bars = false) {
  MultiMatchStream stream(strings);
  std::string shown;
  while (!text.empty()) {
    absl::string_view part = text.substr(0, size);
    text.remove_prefix(part.size());
    while (!part.empty()) {
      const auto step = stream.Read(part, &shown);
      if (step.match.has_value()) absl::StrAppend(&shown, "[", *step.match, "]");
      part.remove_prefix(step.consumed);
    }
    if (bars) shown += "|";
  }
  stream.Flush(&shown);
  return shown;
}

TEST(MultiMatchTest, FindsTheFirstToEndAndTheLongestOfThose) {
  const MultiMatch strings({"she", "he", "hers", "abcd", "bc"});
  for (const size_t size : {1, 2, 3, 100}) {
    EXPECT_EQ(Show(strings, "ushers", size), "u[0]rs");
    EXPECT_EQ(Show(strings, "xhe hers", size), "x[1] [1]rs");
    EXPECT_EQ(Show(strings, "abcd", size), "a[4]d");
    EXPECT_EQ(Show(strings, "shhe", size), "sh[1]");
    EXPECT_EQ(Show(strings, "sh", size), "sh");
  }
}

TEST(MultiMatchTest, LetsThroughWhatCanNoLongerMatch) {
  EXPECT_EQ(Show(MultiMatch({"aab"}), "aaaxaa", 1, /*bars=*/true), "||a|aax|||aa");
  EXPECT_EQ(Show(MultiMatch({"abab", "bx"}), "ababbx", 1, /*bars=*/true), "|||[0]||[1]|");
  EXPECT_EQ(Show(MultiMatch({}), "abc", 2, /*bars=*/true), "ab|c|");
}

TEST(MultiMatchTest, StartsAfreshAfterAMatch) {
  EXPECT_EQ(Show(MultiMatch({"aa"}), "aaaaa", 1), "[0][0]a");
}

}  // namespace
}  // namespace tandem
