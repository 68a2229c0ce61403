// SPDX-License-Identifier: Apache-2.0
// Goal: the rule of the simulated engine holds token by token, its steps last what they are told
// to, and rows without a prompt are answered with an id that no answer has. Method: a prefill and
// a decode engine on one pool, on a clock that their sleep moves.
#include "services/runtime/engine/sim/sim_engine.h"

#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

constexpr int32_t kBos = 0;
constexpr int32_t kEos = 1;

ModelConfig TinyConfig() {
  return *ModelConfig::FromFolder(TANDEM_SOURCE_DIR "/deploy/models/tiny-v4");
}

class SimEngineTest : public ::testing::Test {
 protected:
  SimEngineTest() {
    prefill_ = Make(
        {.reads_prompts = true, .step = absl::Milliseconds(5), .token = absl::Microseconds(100)});
    decode_ = Make({.step = absl::Milliseconds(20), .token = absl::Milliseconds(1)});
  }

  std::unique_ptr<SimEngine> Make(SimEngine::Options options) {
    options.clock = &clock_;
    options.sleep_until = [this](absl::Time end) { clock_.Advance(end - clock_.Now()); };
    return *SimEngine::Create(config_, options);
  }

  // The answer of `tokens` ids to a prompt that is read in chunks.
  std::vector<int32_t> Ask(const std::vector<int32_t>& prompt, int tokens, size_t chunk = 64) {
    const Sampler sampler(SamplerSpec{}, {});
    int32_t token = 0;
    for (size_t i = 0; i < prompt.size(); i += chunk) {
      const auto ids = absl::MakeConstSpan(prompt).subspan(i, chunk);
      const bool last = i + ids.size() == prompt.size();
      token = prefill_
                  ->Step({{.tokens = ids,
                           .start = static_cast<int64_t>(i),
                           .slot = place_.slot,
                           .pages = place_.pages,
                           .sampler = last ? &sampler : nullptr}},
                         pool_.view())[0]
                  .choice.id;
    }
    std::vector<int32_t> answer = {token};
    while (static_cast<int>(answer.size()) < tokens) {
      answer.push_back(Decode(prompt.size() + answer.size() - 1, answer.back(), sampler).id);
    }
    return answer;
  }

  TokenChoice Decode(size_t position, int32_t token, const Sampler& sampler) {
    return decode_
        ->Step({{.tokens = {&token, 1},
                 .start = static_cast<int64_t>(position),
                 .slot = place_.slot,
                 .pages = place_.pages,
                 .sampler = &sampler}},
               pool_.view())[0]
        .choice;
  }

  const ModelConfig config_ = TinyConfig();
  Pool pool_{config_, {.pages = 4, .slots = 2}};
  const Place place_{.slot = 1, .pages = {2, 0, 3}};
  ManualClock clock_;
  std::unique_ptr<SimEngine> prefill_;
  std::unique_ptr<SimEngine> decode_;
};

TEST_F(SimEngineTest, AnAnswerRepeatsItsPromptWithoutBosAndEos) {
  EXPECT_EQ(Ask({7, 8, 9}, 7), (std::vector<int32_t>{7, 8, 9, 7, 8, 9, 7}));
  EXPECT_EQ(Ask({kBos, 7, kEos, 8, 9}, 5), (std::vector<int32_t>{7, 8, 9, 7, 8}));
  EXPECT_EQ(Ask({kBos, kEos}, 3), (std::vector<int32_t>{2, 2, 2})) << "the lowest other id";
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 700; ++i) prompt.push_back(3 + i);
  std::vector<int32_t> expected = prompt;
  expected.insert(expected.end(), prompt.begin(), prompt.begin() + 20);
  for (const size_t chunk : {7, 128, 1000}) EXPECT_EQ(Ask(prompt, 720, chunk), expected);
}

TEST_F(SimEngineTest, StepsLastTheirBaseAndTheirTokens) {
  const absl::Time begin = clock_.Now();
  (void)Ask(std::vector<int32_t>(100, 5), 1, 60);
  EXPECT_EQ(clock_.Now() - begin, absl::Milliseconds(2 * 5 + 100 * 0.1));
  (void)Ask({5}, 11);
  EXPECT_EQ(clock_.Now() - begin, absl::Milliseconds(20 + 5.1 + 10 * 21));
}

TEST_F(SimEngineTest, RowsWithoutAPromptAreAnsweredWithBos) {
  const Sampler sampler(SamplerSpec{}, {});
  EXPECT_EQ(Decode(3, 7, sampler).id, kBos) << "nothing was ever written";
  (void)Ask({7, 8, 9}, 1);
  EXPECT_EQ(Decode(2, 7, sampler).id, kBos) << "of another length";
}

TEST_F(SimEngineTest, LogProbabilitiesAreThereWhereTheyAreAskedFor) {
  const Sampler sampler(SamplerSpec{.logprobs = 3}, {});
  const std::vector<int32_t> prompt = {config_.vocab_size - 1, 8};
  const ChunkResult result = prefill_->Step({{.tokens = prompt,
                                              .slot = place_.slot,
                                              .pages = place_.pages,
                                              .sampler = &sampler,
                                              .targets = {&prompt[1], 1}}},
                                            pool_.view())[0];
  EXPECT_EQ(result.target_logprobs, (std::vector<float>{SimEngine::kLogprob}));
  EXPECT_EQ(result.choice.logprob, SimEngine::kLogprob);
  ASSERT_EQ(result.choice.top.size(), 3U);
  EXPECT_EQ(result.choice.top[0].id, result.choice.id);
  EXPECT_EQ(result.choice.top[1].id, 0) << "ids stay in the vocabulary";
  EXPECT_LT(result.choice.top[2].logprob, result.choice.top[1].logprob);
}

TEST_F(SimEngineTest, AModelThatKeepsNoWholePromptIsRefused) {
  ModelConfig config = config_;
  config.compress_ratios.assign(config.num_hidden_layers, 0);
  const auto engine = SimEngine::Create(config, {});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(engine.status().message().find("compress_ratios"), std::string::npos);
}

TEST_F(SimEngineTest, OnTheRealClockItSleeps) {
  decode_ = *SimEngine::Create(config_, {.step = absl::Milliseconds(10)});
  const absl::Time begin = Clock::Real().Now();
  const std::clock_t cpu = std::clock();
  (void)Ask({7, 8, 9}, 21);
  EXPECT_GE(Clock::Real().Now() - begin, absl::Milliseconds(200));
  EXPECT_LT(static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC, 0.1);
}

}  // namespace
}  // namespace tandem
