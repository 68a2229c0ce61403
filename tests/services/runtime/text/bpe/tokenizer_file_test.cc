// SPDX-License-Identifier: Apache-2.0
// Goal: a file that differs in any way that could change ids is refused, and the message names the
// field. Method: the shipped file, changed in one place at a time by a JSON patch.
#include "services/runtime/text/bpe/tokenizer_file.h"

#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/text/golden.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

const Json& Shipped() {
  static const Json json = Json::parse(
      ReadFileOrDie(TANDEM_SOURCE_DIR "/deploy/models/tiny-v4/tokenizer.json"), nullptr, false);
  return json;
}

struct Change {
  const char* pointer;
  const char* value;
  const char* named;
};

TEST(TokenizerFileTest, ReadsTheShippedFile) {
  const auto file = ParseTokenizerFile(Shipped().dump());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->split_patterns.size(), 3U);
  EXPECT_EQ(file->vocabulary.size(), 1824U);
  EXPECT_EQ(file->merges.size(), 1565U);
  EXPECT_EQ(file->added_tokens.size(), 11U);
}

TEST(TokenizerFileTest, RefusesEveryChangeThatItCanNotRun) {
  const Change changes[] = {
      {"/model/type", R"("Unigram")", "model.type is \"Unigram\""},
      {"/model/dropout", "0.1", "model.dropout"},
      {"/model/unk_token", R"("<unk>")", "model.unk_token"},
      {"/model/byte_fallback", "true", "model.byte_fallback"},
      {"/model/ignore_merges", "true", "model.ignore_merges"},
      {"/model/end_of_word_suffix", R"("</w>")", "model.end_of_word_suffix"},
      {"/model/new_field", "1", "model.new_field"},
      {"/model/vocab", "[]", "model.vocab"},
      {"/model/vocab/he", "-1", "model.vocab[\"he\"]"},
      {"/model/vocab/he", "1048576", "model.vocab[\"he\"]"},
      {"/model/vocab/he", "3", "an id of its own"},
      {"/model/merges/0", R"("a b c")", "model.merges[0]"},
      {"/model/merges/1", R"(["a", 1])", "model.merges[1]"},
      {"/normalizer", R"({"type": "NFC"})", "normalizer.type"},
      {"/truncation", R"({"max_length": 5})", "truncation"},
      {"/surprise", "true", "surprise"},
      {"/decoder/type", R"("Metaspace")", "decoder.type"},
      {"/post_processor/type", R"("TemplateProcessing")", "post_processor.type"},
      {"/pre_tokenizer/type", R"("Whitespace")", "pre_tokenizer.type"},
      {"/pre_tokenizer/pretokenizers/0/behavior", R"("Removed")", "pretokenizers[0].behavior"},
      {"/pre_tokenizer/pretokenizers/1/invert", "true", "pretokenizers[1].invert"},
      {"/pre_tokenizer/pretokenizers/2/pattern", R"({"String": " "})", "pattern.String"},
      {"/pre_tokenizer/pretokenizers/3/use_regex", "true", "pretokenizers[3].use_regex"},
      {"/pre_tokenizer/pretokenizers/3/add_prefix_space", "true", "add_prefix_space"},
      {"/added_tokens/4/lstrip", "true", "added_tokens[4].lstrip"},
      {"/added_tokens/4/single_word", "true", "added_tokens[4].single_word"},
      {"/added_tokens/4/content", R"("")", "added_tokens[4].content"},
      {"/added_tokens/4/content", R"("<think>")", "added_tokens[5]"},
      {"/added_tokens/4/id", "5", "added_tokens[4]"},
      {"/added_tokens", "7", "added_tokens"},
  };
  for (const Change& change : changes) {
    Json json = Shipped();
    json[Json::json_pointer(change.pointer)] = Json::parse(change.value);
    const auto file = ParseTokenizerFile(json.dump());
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << change.pointer;
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(change.named));
  }
}

TEST(TokenizerFileTest, RefusesWhatIsNotJsonOrNotAnObject) {
  for (const char* text : {"", "{", "[]", "null", "\"x\"", "{}"}) {
    EXPECT_EQ(ParseTokenizerFile(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace tandem
