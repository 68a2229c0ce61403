// SPDX-License-Identifier: Apache-2.0
// Goal: ids equal Hugging Face's for both vocabularies, and decoding gives the text back.
// Method: golden cases (tests/golden/text/README.md), the specification's check vectors, and rules
// on added tokens.
#include "services/runtime/text/tokenizer.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/text/bpe/utf8.h"
#include "tests/services/runtime/text/golden.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int32_t> Encode(const Tokenizer& tokenizer, absl::string_view text,
                            const EncodeOptions& options = {}) {
  const auto ids = tokenizer.Encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status();
  return ids.ok() ? *ids : std::vector<int32_t>{-1};
}

void ExpectGolden(const Tokenizer& tokenizer, const std::string& vocabulary, size_t cases) {
  const auto& golden = Golden("tokenizer_cases.json");
  ASSERT_EQ(golden.size(), cases);
  for (const auto& item : golden) {
    const auto text = item["text"].get<std::string>();
    EXPECT_EQ(Encode(tokenizer, text), item[vocabulary].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer.Decode(item[vocabulary].get<std::vector<int32_t>>()), text);
  }
}

TEST(TokenizerTest, EqualsHuggingFaceOnTheTinyVocabulary) {
  ExpectGolden(TinyTokenizer(), "tiny", 197);
}

TEST(TokenizerTest, EqualsHuggingFaceOnTheDeepSeekVocabulary) {
  ExpectGolden(DeepSeekTokenizer(), "deepseek_v3", 197);
}

TEST(TokenizerTest, EqualsHuggingFaceOnUnicodeEdgesAndLongRuns) {
  const auto& golden = Golden("tokenizer_edge_cases.json");
  ASSERT_GT(golden.size(), 100U);
  for (const auto& item : golden) {
    const auto text = item["text"].get<std::string>();
    EXPECT_EQ(Encode(TinyTokenizer(), text), item["tiny"].get<std::vector<int32_t>>()) << item;
    EXPECT_EQ(Encode(DeepSeekTokenizer(), text), item["deepseek_v3"].get<std::vector<int32_t>>())
        << item;
  }
}

TEST(TokenizerTest, GivesTheCheckVectorOfTheSpecification) {
  EXPECT_THAT(Encode(DeepSeekTokenizer(), "Hello! 毕老师！1 + 1 = 2 ĠÑĤÐ²ÑĬÑĢ"),
              ElementsAre(19923, 3, 223, 5464, 5008, 1175, 19, 940, 223, 19, 438, 223, 20, 6113,
                          257, 76589, 131, 100, 76032, 1628, 76589, 131, 108, 76589, 131, 98));
}

TEST(TokenizerTest, ReadsAddedTokensOnlyWhereTheyAreNotPlain) {
  const Tokenizer& tokenizer = TinyTokenizer();
  const int32_t user = tokenizer.TokenId("<｜User｜>").value();
  const std::string mark = "<｜User｜>";
  EXPECT_THAT(Encode(tokenizer, mark), ElementsAre(user));
  const std::vector<int32_t> spelled = Encode(tokenizer, mark, {.parse_added_tokens = false});
  EXPECT_GT(spelled.size(), 1U);
  EXPECT_EQ(tokenizer.Decode(spelled), mark);

  const std::vector<ByteRange> second = {{mark.size(), 2 * mark.size()}};
  std::vector<int32_t> expected = {user};
  expected.insert(expected.end(), spelled.begin(), spelled.end());
  expected.push_back(user);
  EXPECT_EQ(Encode(tokenizer, mark + mark + mark, {.plain = second}), expected);
}

TEST(TokenizerTest, DoesNotReadATokenThatLiesPartlyInAPlainRange) {
  const Tokenizer& tokenizer = TinyTokenizer();
  const std::string mark = "<think>";
  for (const ByteRange range : {ByteRange{0, 1}, ByteRange{3, 4}, ByteRange{6, 7}}) {
    const std::vector<ByteRange> plain = {range};
    EXPECT_EQ(Encode(tokenizer, mark, {.plain = plain}),
              Encode(tokenizer, mark, {.parse_added_tokens = false}));
  }
  const std::vector<ByteRange> empty = {{0, 0}, {3, 3}, {7, 7}};
  EXPECT_EQ(Encode(tokenizer, mark, {.plain = empty}), Encode(tokenizer, mark));
}

TEST(TokenizerTest, RefusesPlainRangesThatDoNotFit) {
  const std::vector<std::vector<ByteRange>> wrong = {
      {{0, 5}}, {{3, 2}}, {{0, 2}, {1, 3}}, {{2, 3}, {0, 1}}};
  for (const auto& plain : wrong) {
    EXPECT_EQ(TinyTokenizer().Encode("four", {.plain = plain}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  const std::vector<ByteRange> right = {{0, 1}};
  EXPECT_THAT(std::string(TinyTokenizer().Encode("a\xFF", {.plain = right}).status().message()),
              HasSubstr("UTF-8"));
}

TEST(TokenizerTest, ReadsInvalidUtf8AsReplacementCharacters) {
  for (const std::string text : {"\xFF", "a\xE4\xBD", "\xED\xA0\x80x", "\xF0\x9F\x98 \xC0\xAF"}) {
    EXPECT_EQ(Encode(DeepSeekTokenizer(), text), Encode(DeepSeekTokenizer(), SanitizeUtf8(text)));
  }
}

TEST(TokenizerTest, AnswersForEveryIdEvenWhereThereIsNoToken) {
  const Tokenizer& tokenizer = DeepSeekTokenizer();
  EXPECT_EQ(tokenizer.vocab_size(), 128815);
  for (const int32_t id : {-1, INT32_MIN, INT32_MAX, tokenizer.vocab_size()}) {
    EXPECT_EQ(tokenizer.TokenBytes(id), "");
    EXPECT_FALSE(tokenizer.IsSpecial(id));
    EXPECT_EQ(tokenizer.Decode({id, 19923, id}), "Hello");
  }
  EXPECT_EQ(tokenizer.TokenBytes(19923), "Hello");
  EXPECT_EQ(tokenizer.TokenId("Hello"), 19923);
  EXPECT_EQ(tokenizer.TokenId("no such token"), std::nullopt);
}

TEST(TokenizerTest, SkipsSpecialTokensOnRequestAndKeepsTheOthers) {
  const Tokenizer& tokenizer = TinyTokenizer();
  const std::string text = "<｜begin▁of▁sentence｜><think>x</think>y<｜end▁of▁sentence｜>";
  const std::vector<int32_t> ids = Encode(tokenizer, text);
  EXPECT_EQ(tokenizer.Decode(ids), text);
  EXPECT_EQ(tokenizer.Decode(ids, {.skip_special = true}), "<think>x</think>y");
}

TEST(TokenizerTest, NamesTheFileThatCanNotBeRead) {
  const auto missing = Tokenizer::FromFile("/nowhere/tokenizer.json");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/nowhere/tokenizer.json"));
  EXPECT_FALSE(Tokenizer::FromFile("/").ok());
}

}  // namespace
}  // namespace tandem
