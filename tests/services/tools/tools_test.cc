// SPDX-License-Identifier: Apache-2.0
// Goal: the command line says what the router said, and exits by it. Method: verbs run in this
// process against a router with scripted workers; stdout and stderr are read.
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/tools/flags.h"
#include "services/tools/request_flags.h"
#include "services/tools/verbs.h"
#include "tests/services/router/router_harness.h"
#include "tests/services/tools/run_verb.h"

namespace tandem {
namespace {

using testing::HasSubstr;

std::string Target(RouterHarness& harness) {
  return absl::StrCat("127.0.0.1:", harness.router().port());
}

TEST(ToolsTest, GenerateStreamsTextAndSumsUp) {
  RouterHarness harness;
  harness.stage().Set({.tokens = harness.Script("Seven apples.")});
  const Said said = RunVerb(RunGenerate, {"--target", Target(harness), "--prompt", "How many?"});
  EXPECT_EQ(said.code, 0) << said.err;
  EXPECT_EQ(said.out, "Seven apples.\n");
  EXPECT_THAT(said.err, HasSubstr("TTFT"));
}

TEST(ToolsTest, JsonHasEverythingInOneObject) {
  RouterHarness harness;
  const std::vector<uint32_t> tokens = harness.Script("Seven apples.");
  harness.stage().Set({.tokens = tokens});
  const Said said =
      RunVerb(RunGenerate, {"--target", Target(harness), "--raw", "How many?", "--json",
                            "--logprobs", "2", "--prompt-logprobs", "--temperature=0"});
  EXPECT_EQ(said.code, 0) << said.err;
  const auto json = nlohmann::json::parse(said.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << said.out;
  EXPECT_EQ(json["text"], "Seven apples.");
  EXPECT_EQ(json["token_ids"].get<std::vector<uint32_t>>(), tokens);
  EXPECT_EQ(json["logprobs"].size(), tokens.size());
  EXPECT_EQ(json["top_logprobs"][0]["token_ids"].size(), 2U);
  EXPECT_EQ(json["prompt_logprobs"].size(), json["prompt_tokens"].get<size_t>());
  EXPECT_EQ(json["finish_reason"], "stop");
  EXPECT_EQ(json["usage"]["completion_tokens"], tokens.size());
  EXPECT_GT(json["timing"]["total"].get<double>(), 0.0);
}

TEST(ToolsTest, ServersRefusalIsSaidWithReasonAndField) {
  RouterHarness harness;
  const Said said = RunVerb(RunGenerate, {"--target", Target(harness), "--prompt", "x",
                                          "--temperature", "nan", "--logprobs", "1000000000"});
  EXPECT_EQ(said.code, 1);
  EXPECT_THAT(said.err, HasSubstr("INVALID_ARGUMENT (INVALID_FIELD)"));
  EXPECT_THAT(said.err, HasSubstr("sampling.temperature: nan"));
  EXPECT_THAT(said.err, HasSubstr("logprobs: 1000000000"));
}

TEST(ToolsTest, WrongArgumentsExitWithTwo) {
  EXPECT_EQ(RunVerb(RunGenerate, {"--prompt"}).code, 2);
  EXPECT_EQ(RunVerb(RunGenerate, {"--prompt", "a", "--raw", "b"}).code, 2);
  EXPECT_EQ(RunVerb(RunGenerate, {"--prompt", "a", "--top-k", "-1"}).code, 2);
  EXPECT_EQ(RunVerb(RunGenerate, {"--prompt", "a", "--logprobs", "10000000000"}).code, 2);
  EXPECT_EQ(RunVerb(RunGenerate, {"--messages", "/no/such"}).code, 2);
  EXPECT_EQ(RunVerb(RunGenerate, {"--no-such"}).code, 2);
  EXPECT_EQ(RunVerb(RunHealth, {"--timeout", "soon"}).code, 2);
}

TEST(ToolsTest, HealthIsTheExitCode) {
  std::string target;
  {
    RouterHarness harness;
    target = Target(harness);
    const Said said = RunVerb(RunHealth, {"--target", target});
    EXPECT_EQ(said.code, 0) << said.err;
    EXPECT_EQ(said.out, "SERVING\n");
  }
  EXPECT_EQ(RunVerb(RunHealth, {"--target", target}).code, 1);
}

TEST(ToolsTest, MessagesFileMayBringToolsAndReasoning) {
  const auto chat = ChatFromJson(
      R"({"messages": [{"role": "user", "content": "hi"},
          {"role": "assistant", "content": null, "reasoning": "r",
           "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}],
          "tools": [{"type": "function"}]})");
  ASSERT_TRUE(chat.ok()) << chat.status();
  ASSERT_EQ(chat->messages_size(), 2);
  EXPECT_EQ(chat->messages(1).reasoning(), "r");
  EXPECT_EQ(chat->messages(1).tool_calls(0).name(), "f");
  EXPECT_EQ(chat->tools_json(), R"([{"type":"function"}])");
  EXPECT_FALSE(ChatFromJson("[1]").ok());
  EXPECT_FALSE(ChatFromJson("{").ok());
}

}  // namespace
}  // namespace tandem
