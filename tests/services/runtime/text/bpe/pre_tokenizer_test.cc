// SPDX-License-Identifier: Apache-2.0
// Goal: pieces are the matches and gaps of each pattern in turn, and \s is Unicode's White_Space.
#include "services/runtime/text/bpe/pre_tokenizer.h"

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Split(const std::vector<std::string>& patterns, absl::string_view text) {
  const auto pre_tokenizer = PreTokenizer::Create(patterns);
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status();
  const auto pieces = pre_tokenizer->Split(text);
  EXPECT_TRUE(pieces.ok()) << pieces.status();
  return {pieces->begin(), pieces->end()};
}

// The code points in [1, 0x3100) that `pattern` matches.
std::vector<int> Matched(const std::string& pattern) {
  const auto pre_tokenizer = PreTokenizer::Create({"x" + pattern});
  std::vector<int> matched;
  for (int c = 1; c < 0x3100; ++c) {
    std::string text = "x";
    if (c < 0x80) {
      text += static_cast<char>(c);
    } else if (c < 0x800) {
      text += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
    } else {
      text += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
               static_cast<char>(0x80 | (c & 63))};
    }
    if (pre_tokenizer->Split(text)->size() == 1 && pre_tokenizer->Split(text + "x")->size() == 2) {
      matched.push_back(c);
    }
  }
  return matched;
}

TEST(PreTokenizerTest, MakesPiecesOfMatchesAndGaps) {
  EXPECT_THAT(Split({"[0-9]{1,3}"}, "a1234b"), ElementsAre("a", "123", "4", "b"));
  EXPECT_THAT(Split({"[0-9]"}, "ab"), ElementsAre("ab"));
  EXPECT_THAT(Split({}, "ab"), ElementsAre("ab"));
  EXPECT_THAT(Split({"a"}, ""), ElementsAre());
}

TEST(PreTokenizerTest, GivesLaterPatternsEachPieceAsATextOfItsOwn) {
  EXPECT_THAT(Split({"[0-9]+", R"(\s+(?!\S)|\s+)"}, "  1  a"),
              ElementsAre("  ", "1", " ", " ", "a"));
}

TEST(PreTokenizerTest, ReadsSpaceAsUnicodeWhiteSpace) {
  // Unicode's PropList.txt, White_Space, below U+3100. U+180E, U+200B and U+FEFF are none.
  const std::vector<int> white_space = {0x9,    0xa,    0xb,    0xc,    0xd,    0x20,   0x85,
                                        0xa0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004,
                                        0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028,
                                        0x2029, 0x202f, 0x205f, 0x3000};
  EXPECT_EQ(Matched(R"(\s)"), white_space);
  EXPECT_EQ(Matched(R"([\s])"), white_space);
  EXPECT_EQ(Matched(R"(\S)").size() + white_space.size(), 0x3100U - 1);
}

TEST(PreTokenizerTest, SurvivesBacktrackingThatOverflowsTheJitStack) {
  const auto pre_tokenizer = PreTokenizer::Create({"(?:a|b)+c?"});
  ASSERT_TRUE(pre_tokenizer.ok());
  EXPECT_THAT(pre_tokenizer->Split(std::string(20000, 'a')).value(), ::testing::SizeIs(1));
  EXPECT_EQ(pre_tokenizer->Split(std::string(1 << 20, 'a')).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(PreTokenizerTest, RefusesPatternsThatDoNotCompileOrMatchNothing) {
  for (const char* pattern : {"[a", "a*", "(", "a{2,1}", R"(\w)"}) {
    const auto result = PreTokenizer::Create({pattern});
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << pattern;
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(pattern));
  }
}

}  // namespace
}  // namespace tandem
