// SPDX-License-Identifier: Apache-2.0
// Goal: a stream's parts are whole characters and make up the decoding of the whole.
// Method: random streams of ids (also ones that break characters, and ids without a token) from a
// fixed seed.
#include "services/runtime/text/detokenizer.h"

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/runtime/text/bpe/utf8.h"
#include "tests/services/runtime/text/golden.h"

namespace tandem {
namespace {

std::string Stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                   const DecodeOptions& options) {
  Detokenizer detokenizer(tokenizer, options);
  std::string text;
  for (const int32_t id : ids) {
    const std::string part = detokenizer.Push(id);
    EXPECT_TRUE(IsValidUtf8(part));
    text += part;
  }
  return text + detokenizer.Flush();
}

TEST(DetokenizerTest, PartsOfAnyStreamMakeUpTheWholeDecoding) {
  const Tokenizer& tokenizer = TinyTokenizer();
  std::mt19937 random(7);
  // Ids below 300 are single bytes: most of such streams are broken UTF-8.
  for (const int32_t highest : {260, 1900}) {
    std::uniform_int_distribution<int32_t> pick(-1, highest);
    for (int stream = 0; stream < 300; ++stream) {
      std::vector<int32_t> ids(40);
      for (int32_t& id : ids) id = pick(random);
      for (const bool skip_special : {false, true}) {
        const DecodeOptions options{.skip_special = skip_special};
        EXPECT_EQ(Stream(tokenizer, ids, options), tokenizer.Decode(ids, options));
      }
    }
  }
}

TEST(DetokenizerTest, HoldsACharacterUntilItsLastByte) {
  const Tokenizer& tokenizer = TinyTokenizer();
  const std::string emoji = "😀";
  Detokenizer detokenizer(tokenizer);
  for (size_t i = 0; i < emoji.size(); ++i) {
    const int32_t byte = tokenizer.TokenId(emoji.substr(i, 1)).value();
    EXPECT_EQ(detokenizer.Push(byte), i + 1 == emoji.size() ? emoji : "");
  }
  EXPECT_EQ(detokenizer.Flush(), "");
}

TEST(DetokenizerTest, FlushReplacesAnUnfinishedCharacterOnce) {
  const Tokenizer& tokenizer = TinyTokenizer();
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.Push(tokenizer.TokenId("\xF0").value()), "");
  EXPECT_EQ(detokenizer.Push(tokenizer.TokenId("\x9F").value()), "");
  EXPECT_EQ(detokenizer.Flush(), "\uFFFD");
  EXPECT_EQ(detokenizer.Flush(), "");
}

}  // namespace
}  // namespace tandem
