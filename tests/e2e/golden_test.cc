// SPDX-License-Identifier: Apache-2.0
// Goal: through the three processes every golden prompt is answered as the released model code
// answers it, within the design's tolerances (section 3), and the numbers are the same to the bit
// for every chunk size and channel kind. Method: golden_tiny.json and golden_random_a.json; the
// log-probabilities of all prompt tokens and of greedy decoding.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

constexpr int kTop = 8;

struct Tolerance {
  double lead;         // greedy tokens are equal where the golden's lead exceeds it
  double prompt_mean;  // of |difference of log-probabilities|
  double prompt_worst;
};

struct Setting {
  std::string checkpoint;  // folder
  std::string golden;      // file
  Tolerance tolerance;
  int chunk;
  std::string kind;
};

nlohmann::json LoadCases(const std::string& file) {
  std::ifstream stream(TANDEM_SOURCE_DIR "/tests/golden/model/" + file);
  return nlohmann::json::parse(stream).at("cases");
}

Outcome Run(const Cluster& cluster, const nlohmann::json& golden) {
  const auto client = cluster.NewClient();
  v1::GenerateRequest request =
      GreedyRequest(golden.at("prompt").get<std::vector<uint32_t>>(), golden.at("decode").size());
  request.set_ignore_eos(true);
  request.set_prompt_logprobs(true);
  request.set_logprobs(kTop);
  return Generate(*client, request, {.deadline = absl::Seconds(500)});
}

void CheckPrompt(const Outcome& outcome, const nlohmann::json& golden, const Tolerance& tolerance) {
  const auto& want = golden.at("prompt_logprob");
  ASSERT_EQ(outcome.prompt_logprobs.size(), want.size());
  double sum = 0;
  double worst = 0;
  for (size_t i = 1; i < want.size(); ++i) {
    const double off = std::abs(outcome.prompt_logprobs[i] - want[i].get<double>());
    sum += off;
    worst = std::max(worst, off);
  }
  EXPECT_LE(sum / static_cast<double>(want.size() - 1), tolerance.prompt_mean);
  EXPECT_LE(worst, tolerance.prompt_worst);
  std::cout << "  prompt log-probabilities off by " << sum / static_cast<double>(want.size() - 1)
            << " on average, " << worst << " at worst\n";
}

// Greedy tokens, up to the first place where the golden itself is undecided.
void CheckAnswer(const Outcome& outcome, const nlohmann::json& golden, const Tolerance& tolerance) {
  const Choice& choice = outcome.only();
  ASSERT_EQ(choice.tokens.size(), golden.at("decode").size());
  for (size_t i = 0; i < choice.tokens.size(); ++i) {
    const auto& step = golden.at("decode")[i];
    if (choice.tokens[i] == step.at("token").get<uint32_t>()) continue;
    const double lead = step.at("top")[0][1].get<double>() - step.at("top")[1][1].get<double>();
    EXPECT_LE(lead, tolerance.lead) << "token " << i << " is " << choice.tokens[i];
    return;
  }
}

class GoldenTest : public ::testing::TestWithParam<Setting> {};

// The first setting of a checkpoint, for the others to be equal to.
std::map<std::string, Outcome>& FirstSeen() {
  static auto* const kSeen = new std::map<std::string, Outcome>();
  return *kSeen;
}

TEST_P(GoldenTest, EveryPromptIsAnsweredAsTheReleasedCodeDoes) {
  const Setting& setting = GetParam();
  Cluster cluster({.model_dir = setting.checkpoint,
                   .prefill_extra = absl::StrCat(
                       "chunk_tokens: ", setting.chunk, " kv_channel: KV_CHANNEL_POLICY_STRICT",
                       " kv_channel_kind: KV_CHANNEL_KIND_", setting.kind)});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok()) << cluster.log("prefill-0");
  for (const auto& [name, golden] : LoadCases(setting.golden).items()) {
    const Outcome outcome = Run(cluster, golden);
    ASSERT_TRUE(outcome.status.ok()) << name << ": " << outcome.status;
    EXPECT_TRUE(outcome.broken_promises.empty()) << name << ": " << outcome.broken_promises.front();
    std::cout << setting.golden << " " << name << " chunk " << setting.chunk << " " << setting.kind
              << "\n";
    CheckPrompt(outcome, golden, setting.tolerance);
    CheckAnswer(outcome, golden, setting.tolerance);
    const auto [first, fresh] = FirstSeen().try_emplace(setting.golden + name, outcome);
    EXPECT_EQ(outcome.prompt_logprobs, first->second.prompt_logprobs) << name;
    EXPECT_EQ(outcome.only().tokens, first->second.only().tokens) << name;
    EXPECT_EQ(outcome.only().logprobs, first->second.only().logprobs) << name;
  }
  EXPECT_TRUE(cluster.WaitAllFree("decode-0", absl::Seconds(20)).ok());
  for (const std::string& process : cluster.names())
    EXPECT_EQ(cluster.Terminate(process, absl::Seconds(30)), 0);
}

std::vector<Setting> Settings() {
  constexpr Tolerance kTiny = {.lead = 0.05, .prompt_mean = 0.005, .prompt_worst = 0.1};
  // A random network amplifies every rounding: only the average says something (design section 3).
  constexpr Tolerance kRandom = {.lead = 1e9, .prompt_mean = 0.3, .prompt_worst = 1e9};
  std::vector<Setting> out;
  for (const int chunk : {1, 7, 64, 4096}) {
    for (const char* kind : {"SHARED", "GRPC"}) {
      out.push_back(
          {TANDEM_SOURCE_DIR "/deploy/models/tiny-v4", "golden_tiny.json", kTiny, chunk, kind});
      out.push_back({TANDEM_GOLDEN_DIR "/random-a", "golden_random_a.json", kRandom, chunk, kind});
    }
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest, ::testing::ValuesIn(Settings()), [](const auto& info) {
  const bool tiny = info.param.golden == "golden_tiny.json";
  return absl::StrCat(tiny ? "Tiny" : "RandomA", "Chunk", info.param.chunk, info.param.kind);
});

}  // namespace
}  // namespace tandem
