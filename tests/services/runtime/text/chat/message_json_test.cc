// SPDX-License-Identifier: Apache-2.0
// Goal: OpenAI-style conversations become messages, and every wrong type is refused with its path.
#include "services/runtime/text/chat/message_json.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(MessageJsonTest, ReadsEveryField) {
  const auto messages = MessagesFromJson(R"([
      {"role": "system", "content": null, "unknown": 1, "response_format": {"a": 1},
       "tools": [{"type": "function", "function": {"name": "f", "x": 1.0}}]},
      {"role": "user", "task": "title",
       "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "reasoning_content": "r", "wo_eos": true,
       "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
      {"role": "tool", "tool_call_id": "1",
       "content": [{"type": "text", "text": "t"}, {"type": "image_url"}]},
      {"role": "developer", "tools": null, "response_format": {}},
      {"role": "latest_reminder", "content": "l"}])");
  ASSERT_TRUE(messages.ok()) << messages.status();
  ASSERT_EQ(messages->size(), 6U);
  const auto& m = *messages;
  EXPECT_THAT(m[0].tool_schemas, ElementsAre(R"({"name": "f", "x": 1.0})"));
  EXPECT_EQ(m[0].response_format, R"({"a": 1})");
  EXPECT_EQ(m[1].content, "a\n\nb");
  EXPECT_EQ(m[1].task, Task::kTitle);
  EXPECT_TRUE(m[2].wo_eos);
  EXPECT_EQ(m[2].reasoning_content, "r");
  ASSERT_EQ(m[2].tool_calls.size(), 1U);
  EXPECT_EQ(m[2].tool_calls[0].name, "f");
  EXPECT_EQ(m[3].content, "t\n\n[Unsupported image_url]");
  EXPECT_EQ(m[3].tool_call_id, "1");
  EXPECT_EQ(m[4].role, Role::kDeveloper);
  EXPECT_FALSE(m[4].response_format.has_value());
  EXPECT_EQ(m[5].role, Role::kLatestReminder);
}

TEST(MessageJsonTest, NamesTheFieldThatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"{", "messages: not valid JSON"},
      {"{}", "messages: expected a list"},
      {"[1]", "messages[0]: expected an object"},
      {R"([{"content": "x"}])", "messages[0].role"},
      {R"([{"role": "robot"}])", "not \"robot\""},
      {R"([{"role": 1}])", "messages[0].role"},
      {R"([{"role": "user"}, {"role": "user", "content": 1}])", "messages[1].content"},
      {R"([{"role": "user", "content": [1]}])", "messages[0].content[0]"},
      {R"([{"role": "user", "content": [{"type": "image_url"}]}])", "messages[0].content[0].type"},
      {R"([{"role": "user", "content": [{"type": "text", "text": {}}]}])", "content[0].text"},
      {R"([{"role": "user", "task": "sing"}])", "messages[0].task"},
      {R"([{"role": "assistant", "wo_eos": 1}])", "messages[0].wo_eos"},
      {R"([{"role": "assistant", "reasoning_content": []}])", "reasoning_content"},
      {R"([{"role": "assistant", "tool_calls": {}}])", "messages[0].tool_calls"},
      {R"([{"role": "assistant", "tool_calls": [1]}])", "tool_calls[0]"},
      {R"([{"role": "assistant", "tool_calls": [{}]}])", "tool_calls[0].function"},
      {R"([{"role": "assistant", "tool_calls": [{"function": {}}]}])", "function.name"},
      {R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}])",
       "function.arguments"},
      {R"([{"role": "system", "tools": 1}])", "messages[0].tools"},
      {R"([{"role": "system", "tools": [{"type": "function"}]}])", "tools[0].function"},
      {R"([{"role": "system", "response_format": "x"}])", "response_format"},
  };
  for (const auto& [json, named] : cases) {
    const auto messages = MessagesFromJson(json);
    EXPECT_EQ(messages.status().code(), absl::StatusCode::kInvalidArgument) << json;
    EXPECT_THAT(std::string(messages.status().message()), HasSubstr(named));
  }
  EXPECT_THAT(std::string(ToolSchemasFromJson("[1]").status().message()), HasSubstr("tools[0]"));
  EXPECT_THAT(std::string(ResponseFormatFromJson("[]").status().message()),
              HasSubstr("response_format"));
}

TEST(MessageJsonTest, AttachesToolsToTheFirstSystemMessageOrMakesOne) {
  std::vector<Message> messages = {{.role = Role::kUser}};
  AttachTools({}, &messages);
  EXPECT_EQ(messages.size(), 1U);
  AttachTools({.tool_schemas = {"{}"}, .response_format = "{}"}, &messages);
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_EQ(messages[0].role, Role::kSystem);
  EXPECT_EQ(messages[0].response_format, "{}");
  AttachTools({.tool_schemas = {"[]"}}, &messages);
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_THAT(messages[0].tool_schemas, ElementsAre("[]"));
  EXPECT_EQ(messages[0].response_format, "{}");
}

}  // namespace
}  // namespace tandem
