// SPDX-License-Identifier: Apache-2.0
// Goal: calls and definitions are written as specification 6.3 and 6.4 show them, and the request's
// words are marked.
#include "services/runtime/text/chat/dsml.h"

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> UserWords(PromptWriter* writer) {
  const std::vector<ByteRange> ranges = writer->TakeUserRanges();
  const std::string text = writer->TakeText();
  std::vector<std::string> words;
  for (const ByteRange& range : ranges) {
    words.push_back(text.substr(range.begin, range.end - range.begin));
  }
  return words;
}

TEST(DsmlTest, WritesStringsRawAndOtherValuesAsJson) {
  const std::vector<ToolCall> calls = {
      {.name = "f", .arguments = R"({"s":"a\n<","l":[1,2.0],"e":""})"}};
  PromptWriter writer;
  ASSERT_TRUE(WriteToolCalls(calls, &writer).ok());
  EXPECT_EQ(PromptWriter(writer).TakeText(),
            "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n"
            "<｜DSML｜parameter name=\"s\" string=\"true\">a\n<</｜DSML｜parameter>\n"
            "<｜DSML｜parameter name=\"l\" string=\"false\">[1, 2.0]</｜DSML｜parameter>\n"
            "<｜DSML｜parameter name=\"e\" string=\"true\"></｜DSML｜parameter>\n"
            "</｜DSML｜invoke>\n</｜DSML｜tool_calls>");
  EXPECT_THAT(UserWords(&writer), ElementsAre("f", "s", "a\n<", "l", "[1, 2.0]", "e"));
}

TEST(DsmlTest, NamesTheCallWhoseArgumentsAreNoObject) {
  const std::vector<ToolCall> calls = {{.name = "f", .arguments = "7"}};
  PromptWriter writer;
  const absl::Status status = WriteToolCalls(calls, &writer);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tool_calls[0].function.arguments"));
}

TEST(DsmlTest, PutsOneSchemaALineBetweenTheFixedWords) {
  const std::vector<std::string> schemas = {R"({"name": "f"})", R"({"name": "g"})"};
  PromptWriter writer;
  WriteToolDefinitions(schemas, &writer);
  const std::string text = PromptWriter(writer).TakeText();
  EXPECT_TRUE(absl::StartsWith(text, "## Tools\n\nYou have access"));
  EXPECT_THAT(
      text, HasSubstr("### Available Tool Schemas\n\n{\"name\": \"f\"}\n{\"name\": \"g\"}\n\nYou"));
  EXPECT_TRUE(absl::EndsWith(text, "to invoke tool calls.\n"));
  EXPECT_THAT(UserWords(&writer), ElementsAre(schemas[0], schemas[1]));
}

}  // namespace
}  // namespace tandem
