// SPDX-License-Identifier: Apache-2.0
// Goal: completions are read as the released parser reads them, and refused where it refuses.
// Method: the golden completions, hand-made breaches of the grammar, and what EncodeChat writes
// read back.
#include "services/runtime/text/completion_parser.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/text/golden.h"

namespace tandem {
namespace {

TEST(CompletionParserTest, EqualsTheReleasedParserOnEveryGoldenCompletion) {
  const auto& golden = Golden("encoding_cases.json")["parse"];
  ASSERT_EQ(golden.size(), 32U);
  for (const auto& item : golden) {
    const auto mode =
        item["thinking_mode"] == "thinking" ? ThinkingMode::kThinking : ThinkingMode::kChat;
    const auto completion = ParseCompletion(item["completion"].get<std::string>(), mode);
    const auto& message = item["message"];
    ASSERT_EQ(completion.ok(), !message.is_null()) << completion.status() << item;
    if (!completion.ok()) continue;
    EXPECT_EQ(completion->content, message["content"].get<std::string>());
    EXPECT_EQ(completion->reasoning_content, message["reasoning_content"].get<std::string>());
    ASSERT_EQ(completion->tool_calls.size(), message["tool_calls"].size());
    for (size_t i = 0; i < completion->tool_calls.size(); ++i) {
      const auto& function = message["tool_calls"][i]["function"];
      EXPECT_EQ(completion->tool_calls[i].name, function["name"].get<std::string>());
      EXPECT_EQ(completion->tool_calls[i].arguments, function["arguments"].get<std::string>());
    }
  }
}

// "D=" stands for the DSML token, "$" for EOS.
absl::StatusOr<Completion> Parse(absl::string_view text, ThinkingMode mode = ThinkingMode::kChat) {
  return ParseCompletion(
      absl::StrReplaceAll(text, {{"D=", "｜DSML｜"}, {"$", "<｜end▁of▁sentence｜>"}}), mode);
}

constexpr absl::string_view kCall =
    "<D=invoke name=\"f\">\n<D=parameter name=\"a\" "
    "string=\"false\">1</D=parameter>\n</D=invoke>\n";

TEST(CompletionParserTest, ReadsCallsWithoutParametersAndOddNames) {
  const auto completion = Parse(
      "\n\n<D=tool_calls>\n<D=invoke name=\"f\">\n\n</D=invoke>\n<D=invoke name=\"a\"b>c\">\n"
      "<D=parameter name=\"x\" y>\" string=\"true\">\t\"<\n></D=parameter>\n</D=invoke>\n"
      "</D=tool_calls>$");
  ASSERT_TRUE(completion.ok()) << completion.status();
  ASSERT_EQ(completion->tool_calls.size(), 2U);
  EXPECT_EQ(completion->tool_calls[0].arguments, "{}");
  EXPECT_EQ(completion->tool_calls[1].name, "a\"b>c");
  EXPECT_EQ(completion->tool_calls[1].arguments, R"({"x\" y>": "\t\"<\n>"})");
}

TEST(CompletionParserTest, RefusesEveryBreachOfTheGrammar) {
  const std::string open = "\n\n<D=tool_calls>\n";
  const std::string close = "</D=tool_calls>$";
  ASSERT_TRUE(Parse(absl::StrCat("x", open, kCall, close)).ok());
  const std::string broken[] = {
      "no end",
      "",
      "x$y",
      "x$$",
      "a<think>b$",
      "a</think>b$",
      "<｜begin▁of▁sentence｜>$",
      "a D= b$",
      absl::StrCat("x\n<D=tool_calls>\n", kCall, close),
      absl::StrCat("x", open, kCall, close, "\n"),
      absl::StrCat("x", open, kCall, "</D=tool_calls>\n$"),
      absl::StrCat("x", open, kCall, "</D=tool_calls>", open, kCall, close),
      absl::StrCat("x", open, kCall),
      absl::StrCat("x", open, kCall, "$"),
      absl::StrCat("x\n\n<D=tool_calls>", kCall, close),
      absl::StrCat("x", open, "hm", kCall, close),
      absl::StrCat("x", open, "<D=invoke name=f>\n</D=invoke>\n", close),
      absl::StrCat("x", open, "<D=invoke name=\"f\"></D=invoke>\n", close),
      absl::StrCat("x", open,
                   "<D=invoke name=\"f\">\n<D=parameter name=\"a\">1</D=parameter>\n</D=invoke>\n",
                   close),
      absl::StrCat("x", open,
                   "<D=invoke name=\"f\">\n<D=parameter name=\"a\" "
                   "string=\"no\">1</D=parameter>\n</D=invoke>\n",
                   close),
      absl::StrCat("x", open,
                   "<D=invoke name=\"f\">\n<D=parameter name=\"a\" "
                   "string=\"true\">1/D=parameter>\n</D=invoke>\n",
                   close),
      absl::StrCat("x", open,
                   "<D=invoke name=\"f\">\n<D=parameter name=\"a\" "
                   "string=\"true\">1</D=parameter></D=invoke>\n",
                   close),
      absl::StrCat(
          "x", open,
          "<D=invoke name=\"f\">\n<D=parameter name=\"a\" string=\"true\">1</D=parameter>\n"
          "<D=parameter name=\"a\" string=\"true\">1</D=parameter>\n</D=invoke>\n",
          close),
  };
  for (const std::string& text : broken) {
    EXPECT_EQ(Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(CompletionParserTest, WantsReasoningClosedBeforeAnythingElse) {
  EXPECT_TRUE(Parse("r</think>c$", ThinkingMode::kThinking).ok());
  for (const std::string& text :
       {std::string("r$"), std::string("r</think>c</think>$"), std::string("<think>r</think>c$"),
        absl::StrCat("r\n\n<D=tool_calls>\n", kCall, "</D=tool_calls></think>$")}) {
    EXPECT_FALSE(Parse(text, ThinkingMode::kThinking).ok()) << text;
  }
}

TEST(CompletionParserTest, ReadsBackWhatTheEncoderWrites) {
  const std::vector<ToolCall> calls = {
      {.name = "f",
       .arguments =
           R"({"s": "line\n\"q\" \\ é", "n": [1, 2.5, null], "big": 12345678901234567890123456})"},
      {.name = "g", .arguments = "{}"}};
  const std::vector<Message> messages = {
      {.role = Role::kUser, .content = "Q"},
      {.role = Role::kAssistant, .content = "C", .reasoning_content = "R", .tool_calls = calls}};
  const auto prompt = EncodeChat(messages, {.thinking_mode = ThinkingMode::kThinking});
  ASSERT_TRUE(prompt.ok());
  const std::string completion_text = prompt->text.substr(prompt->text.find("<think>") + 7);
  const auto completion = ParseCompletion(completion_text, ThinkingMode::kThinking);
  ASSERT_TRUE(completion.ok()) << completion.status();
  EXPECT_EQ(completion->reasoning_content, "R");
  EXPECT_EQ(completion->content, "C");
  ASSERT_EQ(completion->tool_calls.size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(completion->tool_calls[i].name, calls[i].name);
    EXPECT_EQ(completion->tool_calls[i].arguments, calls[i].arguments);
  }
}

}  // namespace
}  // namespace tandem
