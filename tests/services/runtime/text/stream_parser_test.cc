// SPDX-License-Identifier: Apache-2.0
// Goal: however a completion is cut, the joined deltas are the same, and no markup shows in them.
// Method: every cut in two, and byte by byte, of all golden completions and of many broken ones
// made from them.
#include "services/runtime/text/stream_parser.h"

#include <algorithm>
#include <random>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/text/bpe/utf8.h"
#include "services/runtime/text/completion_parser.h"
#include "tests/services/runtime/text/golden.h"

namespace tandem {
namespace {

struct Joined {
  std::string reasoning, content, calls, fault;
  bool operator==(const Joined&) const = default;
};

void Add(const CompletionDelta& delta, Joined* joined) {
  joined->reasoning += delta.reasoning;
  joined->content += delta.content;
  for (const ToolCallDelta& call : delta.tool_calls) {
    if (!call.name.empty()) absl::StrAppend(&joined->calls, "\n", call.index, " ", call.name, " ");
    joined->calls += call.arguments;
  }
}

Joined Parse(const std::vector<absl::string_view>& parts, ThinkingMode mode) {
  StreamParser parser(mode);
  Joined joined;
  for (const absl::string_view part : parts) Add(parser.Append(part), &joined);
  Add(parser.Finish(), &joined);
  joined.fault = parser.fault();
  return joined;
}

std::ostream& operator<<(std::ostream& out, const Joined& joined) {
  return out << "reasoning " << joined.reasoning << "\ncontent " << joined.content << "\ncalls "
             << joined.calls << "\nfault " << joined.fault;
}

void ExpectNoMarkup(const std::string& text) {
  for (const char* markup : {"DSML", "<think>", "</think>", "▁of▁sentence", "<｜"}) {
    EXPECT_FALSE(absl::StrContains(text, markup)) << text;
  }
}

void ExpectSameForEveryCut(const std::string& text, ThinkingMode mode) {
  const absl::string_view view = text;
  const Joined whole = Parse({view}, mode);
  std::vector<absl::string_view> bytes;
  for (size_t cut = 0; cut < view.size(); ++cut) {
    bytes.push_back(view.substr(cut, 1));
    ASSERT_EQ(Parse({view.substr(0, cut), view.substr(cut)}, mode), whole) << text << " at " << cut;
  }
  ASSERT_EQ(Parse(bytes, mode), whole) << text;
  ExpectNoMarkup(whole.reasoning);
  ExpectNoMarkup(whole.content);
}

ThinkingMode ModeOf(const nlohmann::ordered_json& item) {
  return item["thinking_mode"] == "thinking" ? ThinkingMode::kThinking : ThinkingMode::kChat;
}

TEST(StreamParserTest, GivesTheSameForEveryCutOfEveryGoldenCompletion) {
  for (const auto& item : Golden("encoding_cases.json")["parse"]) {
    const auto text = item["completion"].get<std::string>();
    ExpectSameForEveryCut(text, ModeOf(item));
    EXPECT_EQ(Parse({text}, ModeOf(item)).fault.empty(), !item["message"].is_null());
  }
}

TEST(StreamParserTest, GivesTheSameForEveryCutOfDamagedCompletionsAndLeaksNothing) {
  std::mt19937 random(11);
  const auto& golden = Golden("encoding_cases.json")["parse"];
  for (int round = 0; round < 200; ++round) {
    const auto& item = golden[random() % golden.size()];
    std::string text = item["completion"].get<std::string>();
    const size_t at = random() % text.size();
    const size_t size = random() % 12;
    switch (random() % 3) {
      case 0:
        text.erase(at, size);
        break;
      case 1:
        text.insert(at, text.substr(random() % text.size(), size));
        break;
      default:
        text.resize(at);
    }
    // Damage inside a marker makes it ordinary text, so what it leaves may show; the rest of the
    // rule stays.
    const absl::string_view view = text;
    const Joined whole = Parse({view}, ModeOf(item));
    for (size_t cut = 0; cut < view.size(); cut += 3) {
      ASSERT_EQ(Parse({view.substr(0, cut), view.substr(cut)}, ModeOf(item)), whole) << text;
    }
    ASSERT_FALSE(absl::StrContains(whole.content, "｜DSML｜")) << text;
    ASSERT_FALSE(absl::StrContains(whole.reasoning, "｜DSML｜")) << text;
  }
}

TEST(StreamParserTest, LeaksNothingWhereMarkupIsOutOfPlace) {
  const std::string call =
      "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" "
      "string=\"true\">v</｜DSML｜parameter>\n"
      "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  const std::string block = "<｜DSML｜tool_calls>\n" + call;
  for (const ThinkingMode mode : {ThinkingMode::kChat, ThinkingMode::kThinking}) {
    const std::vector<std::string> texts = {block,
                                            "a" + block,
                                            "a\n" + block,
                                            "a\n\n\n" + block + " b",
                                            "a" + call,
                                            block + block,
                                            "a</｜DSML｜invoke>b<｜DSML｜x y=\"z\">c｜DSML｜d",
                                            "a</think>b<think>c</think>d",
                                            "a<｜end▁of▁sentence｜>b",
                                            "a\n\n<｜DSML｜tool_calls>broken" + call + "b",
                                            "a\n\n<｜DSML｜tool_",
                                            "a<｜DSML｜"};
    for (const std::string& text : texts) {
      ExpectSameForEveryCut(text, mode);
      EXPECT_NE(Parse({text}, mode).fault, "") << text;
    }
  }
  EXPECT_EQ(Parse({"a" + block}, ThinkingMode::kChat).calls, "\n0 f {\"a\": \"v\"}");
  EXPECT_EQ(Parse({"a" + call}, ThinkingMode::kChat).calls, "\n0 f {\"a\": \"v\"}");
  EXPECT_EQ(Parse({"r\n\n" + block}, ThinkingMode::kThinking).calls, "\n0 f {\"a\": \"v\"}");
}

std::vector<int> CallsOf(const std::string& text, ThinkingMode mode) {
  StreamParser parser(mode);
  // Byte by byte: what is pending is looked at again where a block breaks.
  for (const char byte : text) parser.Append(std::string(1, byte));
  parser.Finish();
  const ToolCallCounts& calls = parser.calls();
  return {calls.parsed, calls.repaired, calls.malformed};
}

TEST(StreamParserTest, CountsCallsByWhatBecameOfThem) {
  const std::string call =
      "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" "
      "string=\"true\">v</｜DSML｜parameter>\n</｜DSML｜invoke>\n";
  const std::string open = "<｜DSML｜tool_calls>\n";
  const std::string close = "</｜DSML｜tool_calls>";
  struct Case {
    std::string text;
    std::vector<int> counts;  // parsed, repaired, malformed
    ThinkingMode mode = ThinkingMode::kChat;
  };
  const std::vector<Case> cases = {
      {"a, no call", {0, 0, 0}},
      {"a\n\n" + open + call + call + close, {2, 0, 0}},
      {"a" + open + call + close, {0, 1, 0}},
      {"a" + call + close, {0, 1, 0}},
      {"r\n\n" + open + call + close, {0, 1, 0}, ThinkingMode::kThinking},
      {"r</think>\n\n" + open + call + close, {1, 0, 0}, ThinkingMode::kThinking},
      {"a\n\n" + open + call + close + "\n\n" + open + call + close, {1, 1, 0}},
      // One block is one breach, whatever it held; the calls before it are whole.
      {"a\n\n" + open + call + "what?" + call + close, {1, 0, 1}},
      {"a\n\n" + open + "what?" + close, {0, 0, 1}},
      {"a\n\n" + open + call.substr(0, call.size() / 2), {0, 0, 1}},
      {"a\n\n" + open + call, {1, 0, 1}},
      // Never a block.
      {"a</｜DSML｜invoke>b<｜DSML｜x y=\"z\">c", {0, 0, 0}},
      {"a\n\n<｜DSML｜tool_", {0, 0, 0}}};
  for (const Case& each : cases) EXPECT_EQ(CallsOf(each.text, each.mode), each.counts) << each.text;
}

TEST(StreamParserTest, HoldsBackOnlyWhatMayBeMarkup) {
  StreamParser parser(ThinkingMode::kThinking);
  EXPECT_EQ(parser.Append("think\n").reasoning, "think");
  EXPECT_EQ(parser.Append("on <").reasoning, "\non ");
  EXPECT_EQ(parser.Append("/thin").reasoning, "");
  EXPECT_EQ(parser.Append("g</think").reasoning, "</thing");
  EXPECT_TRUE(parser.in_reasoning());
  EXPECT_EQ(parser.Append(">answer").content, "answer");
  EXPECT_FALSE(parser.in_reasoning());
  EXPECT_EQ(parser.Append("\n\n").content, "");
  EXPECT_EQ(parser.Finish().content, "\n\n");
  EXPECT_EQ(parser.fault(), "");
  EXPECT_FALSE(parser.saw_eos());
}

TEST(StreamParserTest, StreamsArgumentsAsTheyCome) {
  StreamParser parser(ThinkingMode::kChat);
  EXPECT_TRUE(
      parser.Append("\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f").tool_calls.empty());
  CompletionDelta delta = parser.Append("\">\n");
  ASSERT_EQ(delta.tool_calls.size(), 1U);
  EXPECT_EQ(delta.tool_calls[0].name, "f");
  EXPECT_EQ(delta.tool_calls[0].arguments, "{");
  delta = parser.Append("<｜DSML｜parameter name=\"a\" string=\"true\">one\ntwo<");
  ASSERT_EQ(delta.tool_calls.size(), 1U);
  EXPECT_EQ(delta.tool_calls[0].name, "");
  EXPECT_EQ(delta.tool_calls[0].arguments, "\"a\": \"one\\ntwo");
}

TEST(StreamParserTest, GivesWholeCharactersForWholeCharacters) {
  const std::string text =
      "é<｜</think>中<｜DS😀\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke "
      "name=\"é\">\n<｜DSML｜parameter name=\"中\" "
      "string=\"true\">é</｜DSM😀</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  StreamParser parser(ThinkingMode::kThinking);
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin + 1;
    while (end < text.size() && (text[end] & 0xC0) == 0x80) ++end;
    const CompletionDelta delta = parser.Append(text.substr(begin, end - begin));
    EXPECT_TRUE(IsValidUtf8(delta.reasoning) && IsValidUtf8(delta.content));
    for (const ToolCallDelta& call : delta.tool_calls) EXPECT_TRUE(IsValidUtf8(call.arguments));
    begin = end;
  }
}

TEST(StreamParserTest, StaysLinearOnHostileText) {
  const std::string head = "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n";
  for (const std::string unit :
       {"\n", "<", "<｜DSML", "</think", "<｜DSML｜", "</｜DSML｜parameter>\n"}) {
    for (const std::string& start :
         {std::string(), head, head + "<｜DSML｜parameter name=\"a\" string=\"true\">"}) {
      std::string text = start;
      while (text.size() < 300000) text += unit;
      const absl::Duration begin = CpuTime();
      StreamParser parser(ThinkingMode::kChat);
      for (size_t i = 0; i < text.size(); i += 2) parser.Append(text.substr(i, 2));
      parser.Finish();
      EXPECT_LT(CpuTime() - begin, absl::Seconds(8)) << start << unit;
    }
  }
}

}  // namespace
}  // namespace tandem
