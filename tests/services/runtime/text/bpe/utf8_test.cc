// SPDX-License-Identifier: Apache-2.0
// Goal: exactly the well-formed sequences pass, and the rest is replaced by maximal subparts,
// however it is cut. Method: the examples of Unicode 15 section 3.9, all one- and two-byte texts,
// every cut of each example.
#include "services/runtime/text/bpe/utf8.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace tandem {
namespace {

const std::vector<std::pair<std::string, std::string>>& Examples() {
  static const std::vector<std::pair<std::string, std::string>> examples = {
      {"", ""},
      {"plain", "plain"},
      {"né\u4F60😀\U0010FFFF", "né\u4F60😀\U0010FFFF"},
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA"},
      {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA"},
      {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB"},
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "\uFFFD\uFFFD\uFFFD\uFFFDA"},
      {"x\xF0\x9F\x98", "x\uFFFD"}};
  return examples;
}

TEST(Utf8Test, ReplacesMaximalSubparts) {
  for (const auto& [bytes, text] : Examples()) {
    EXPECT_EQ(SanitizeUtf8(bytes), text);
    EXPECT_EQ(IsValidUtf8(bytes), bytes == text);
    EXPECT_TRUE(IsValidUtf8(text));
  }
}

TEST(Utf8Test, GivesTheSameForEveryCut) {
  for (const auto& [bytes, text] : Examples()) {
    for (size_t first = 0; first <= bytes.size(); ++first) {
      for (size_t second = first; second <= bytes.size(); ++second) {
        Utf8Sanitizer sanitizer;
        std::string out;
        sanitizer.Append(bytes.substr(0, first), &out);
        EXPECT_TRUE(IsValidUtf8(out));
        sanitizer.Append(bytes.substr(first, second - first), &out);
        EXPECT_TRUE(IsValidUtf8(out));
        sanitizer.Append(bytes.substr(second), &out);
        sanitizer.Finish(&out);
        EXPECT_EQ(out, text);
      }
    }
  }
}

TEST(Utf8Test, AcceptsNoneButTheWellFormedTwoByteTexts) {
  int valid = 0;
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string text = {static_cast<char>(a), static_cast<char>(b)};
      if (IsValidUtf8(text)) ++valid;
      EXPECT_TRUE(IsValidUtf8(SanitizeUtf8(text)));
    }
  }
  EXPECT_EQ(valid, 128 * 128 + 30 * 64);
}

}  // namespace
}  // namespace tandem
