// SPDX-License-Identifier: Apache-2.0
// Goal: leftmost, then longest; nothing inside plain ranges.
#include "services/runtime/text/bpe/added_tokens.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

std::string Found(const std::vector<std::string>& contents, absl::string_view text,
                  const std::vector<ByteRange>& plain = {}) {
  std::vector<AddedToken> tokens;
  for (size_t i = 0; i < contents.size(); ++i) {
    tokens.push_back({.id = static_cast<int32_t>(i), .content = contents[i]});
  }
  std::string found;
  for (const auto& match : AddedTokenFinder(tokens).Find(text, plain)) {
    absl::StrAppend(&found, match.id, "@", match.range.begin, "-", match.range.end, " ");
  }
  return found;
}

TEST(AddedTokensTest, TakesTheLeftmostThenTheLongest) {
  EXPECT_EQ(Found({"ab", "abc", "bcd"}, "xabcd"), "1@1-4 ");
  EXPECT_EQ(Found({"abcd", "ab", "c"}, "abce"), "1@0-2 2@2-3 ");
  EXPECT_EQ(Found({"aa"}, "aaaaa"), "0@0-2 0@2-4 ");
  EXPECT_EQ(Found({"a"}, ""), "");
  EXPECT_EQ(Found({}, "abc"), "");
}

TEST(AddedTokensTest, LeavesPlainRangesAlone) {
  EXPECT_EQ(Found({"ab"}, "abababab", {{2, 4}, {6, 7}}), "0@0-2 0@4-6 ");
  EXPECT_EQ(Found({"ab", "b"}, "ab", {{0, 1}}), "1@1-2 ");
}

}  // namespace
}  // namespace tandem
