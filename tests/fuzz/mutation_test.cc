// SPDX-License-Identifier: Apache-2.0
// Goal: no input that a stranger could hand over ends a process: every reader gives a value or one
// error of a known code, in bounded words. Method: seeded mutations of good inputs, the same in
// every run; a crash, a sanitizer's finding or another code fails. Budgets keep it below 20 s.
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/runtime/config/service_config.h"
#include "services/runtime/config/text_config.h"
#include "services/runtime/loader/store/safetensors.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/text/chat/message_json.h"
#include "services/runtime/text/chat_encoding.h"
#include "services/runtime/text/stream_parser.h"
#include "services/runtime/text/tokenizer.h"
#include "tests/fuzz/mutator.h"
#include "tests/services/runtime/loader/scratch_folder.h"

namespace tandem {
namespace {

const std::string kTiny = TANDEM_SOURCE_DIR "/deploy/models/tiny-v4/";
constexpr absl::Duration kBudget = absl::Seconds(3);  // a reader

// Ends early where the budget is spent; the inputs are the same up to there.
void Mutate(const std::string& good, int rounds,
            const std::function<absl::Status(const std::string&)>& read) {
  ASSERT_TRUE(read(good).ok()) << read(good);
  Mutator mutator(/*seed=*/20260101);
  const absl::Time end = absl::Now() + kBudget;
  int refused = 0;
  for (int i = 0; i < rounds && absl::Now() < end; ++i) {
    const std::string bad = mutator.Mutate(good);
    const absl::Status status = read(bad);
    if (status.ok()) continue;
    ++refused;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << i << ": " << status;
    EXPECT_FALSE(status.message().empty()) << i;
    EXPECT_LT(status.message().size(), 4096U) << i;
  }
  EXPECT_GT(refused, 0);
}

TEST(MutationTest, TokenizerFiles) {
  Mutate(ReadAll(kTiny + "tokenizer.json"), 300, [](const std::string& text) {
    const auto tokenizer = Tokenizer::FromJson(text);
    if (!tokenizer.ok()) return tokenizer.status();
    const auto ids = (*tokenizer)->Encode("Ana has 12 apples, \xff and <｜User｜>!\n\n");
    // A pattern may be legal and yet backtrack too much.
    if (ids.ok()) (void)(*tokenizer)->Decode(*ids);
    return absl::OkStatus();
  });
}

TEST(MutationTest, ModelConfigs) {
  Mutate(ReadAll(kTiny + "config.json"), 5000,
         [](const std::string& text) { return ModelConfig::FromJson(text).status(); });
}

TEST(MutationTest, ShardHeaders) {
  const ScratchFolder folder;
  const std::string entry = "{\"dtype\":\"BF16\",\"shape\":[4,8],\"data_offsets\":[";
  const std::string good =
      Safetensors(absl::StrCat("{\"__metadata__\":{\"format\":\"pt\"},\"a\":", entry,
                               "0,64]},\"b\":", entry, "64,128]}}"),
                  128);
  Mutate(good, 3000, [&](const std::string& bytes) {
    WriteAll(folder / "x.safetensors", bytes);
    const auto file = SafetensorsFile::Open(folder / "x.safetensors");
    if (!file.ok()) return file.status();
    uint64_t sum = 0;  // every byte that a view promises can be read
    for (const auto& [name, tensor] : file->tensors()) {
      for (const std::byte byte : tensor.bytes) sum += static_cast<uint64_t>(byte);
    }
    return sum == ~uint64_t{0} ? absl::InternalError("impossible") : absl::OkStatus();
  });
}

TEST(MutationTest, Conversations) {
  const std::string good =
      R"([{"role":"system","content":"s","tools":[{"type":"function","function":{"name":"f"}}]},)"
      R"({"role":"user","content":[{"type":"text","text":"\u00e9"}]},{"role":"assistant",)"
      R"("reasoning_content":"r","content":"c","tool_calls":[{"id":"1","function":{"name":"f",)"
      R"("arguments":"{\"x\": [1, 2.5, null]}"}}]},{"role":"tool","tool_call_id":"1",)"
      R"("content":"out"},{"role":"user","content":"go on"}])";
  Mutate(good, 60000, [](const std::string& text) {
    const auto messages = MessagesFromJson(text);
    if (!messages.ok()) return messages.status();
    return EncodeChat(*messages, {.thinking_mode = ThinkingMode::kThinking}).status();
  });
}

template <typename Config>
absl::Status ReadConfig(const std::string& text) {
  Config config;
  const absl::Status parsed = ParseTextConfig("c", text, config);
  if (!parsed.ok()) return parsed;
  ApplyDefaults(config);
  return Validate(config);
}

TEST(MutationTest, TextConfigs) {
  Mutate(
      "worker { listen: \"127.0.0.1:7\" model_dir: \"/m\" drain_timeout { seconds: 3 } }\n"
      "pages: 16 slots: 0x4 lease_ttl { nanos: 5 } endpoint: \"[::1]:8\" # end\n",
      5000, ReadConfig<v1::DecodeConfig>);
  Mutate(
      "listen: \"a:1\" model_dir: \"/m\" prefill_workers: [\"b:2\", \"c:3\"] decode_workers: 'd:4'",
      5000, ReadConfig<v1::RouterConfig>);
}

// What a completion is read as, fed in pieces that `cuts` chooses.
std::string Parsed(const std::string& text, Mutator& cuts) {
  StreamParser parser(ThinkingMode::kThinking);
  std::string reasoning, content;
  std::vector<std::string> calls;
  const auto take = [&](const CompletionDelta& delta) {
    reasoning += delta.reasoning;
    content += delta.content;
    for (const ToolCallDelta& call : delta.tool_calls) {
      calls.resize(std::max(calls.size(), static_cast<size_t>(call.index) + 1));
      absl::StrAppend(&calls[call.index], call.name, call.arguments);
    }
  };
  for (size_t at = 0; at < text.size();) {
    const size_t count = 1 + cuts.Below(40);
    take(parser.Append(absl::string_view(text).substr(at, count)));
    at += count;
  }
  take(parser.Finish());
  std::string out = absl::StrCat(reasoning, "\x1e", content);
  for (const std::string& call : calls) absl::StrAppend(&out, "\x1e", call);
  return out;
}

TEST(MutationTest, CompletionsAreReadTheSameInAnyCuts) {
  const std::string good =
      "I think.</think>Hello\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n"
      "<｜DSML｜parameter name=\"x\" string=\"false\">[1, {\"a\": 2}]</｜DSML｜parameter>\n"
      "<｜DSML｜parameter name=\"y\" string=\"true\">text</｜DSML｜parameter>\n"
      "</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜>";
  Mutator mutator(7);
  const absl::Time end = absl::Now() + kBudget;
  for (int i = 0; i < 60000 && absl::Now() < end; ++i) {
    const std::string bad = mutator.Mutate(good);
    const std::string first = Parsed(bad, mutator);
    EXPECT_EQ(first, Parsed(bad, mutator)) << i << ": " << bad;
    EXPECT_LE(first.size(), 12 * bad.size() + 200) << i;
  }
}

}  // namespace
}  // namespace tandem
