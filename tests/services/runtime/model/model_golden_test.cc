// SPDX-License-Identifier: Apache-2.0
// Goal: the whole forward pass reproduces the released code's results within the design's
// tolerances (section 3). Method: golden prompts and greedy answers, teacher-forced, on both kernel
// tables; printed figures are kept as test properties. The long cases stand in
// model_golden_slow_test.cc.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

struct Tolerance {
  double mean = 0;
  double worst = 0;
  double lead = 0;  // greedy choices are equal wherever the golden's lead exceeds this
};
constexpr Tolerance kTrained{.mean = 0.005, .worst = 0.1, .lead = 0.05};

struct Param {
  const kernels::KernelTable* table;
  size_t longest;
};

void ExpectGreedy(const GoldenCase& c, const LogitsRows2d& logits, double lead) {
  int judged = 0;
  for (size_t i = 0; i < c.prompt.size(); ++i) {
    if (c.margin[i] <= lead) continue;
    EXPECT_EQ(Argmax(logits[i]), c.argmax[i]) << c.name << " after prompt token " << i;
    ++judged;
  }
  for (size_t i = 0; i < c.decode.size(); ++i) {
    if (c.decode[i].lead <= lead) continue;
    EXPECT_EQ(Argmax(logits[c.prompt.size() - 1 + i]), c.decode[i].token)
        << c.name << " step " << i;
    ++judged;
  }
  EXPECT_GT(judged, static_cast<int>(c.prompt.size()) / 2) << c.name;
}

std::vector<int32_t> PromptAndAnswer(const GoldenCase& c) {
  std::vector<int32_t> tokens = c.prompt;
  for (const GoldenStep& step : c.decode) tokens.push_back(step.token);
  return tokens;
}

void ExpectTiny(const kernels::KernelTable& table, size_t longest) {
  const LoadedModel& loaded = ModelNamed("tiny", table);
  const auto model = MakeModel(loaded, table);
  Pool pool(loaded.config(), {.pages = 4, .slots = 1});
  for (const GoldenCase& c : LoadGolden("golden_tiny.json", longest)) {
    const std::vector<int32_t> tokens = PromptAndAnswer(c);
    const LogitsRows2d logits = Run(*model, pool, {.tokens = tokens});
    const Off off = OffFrom(logits, tokens, c.prompt_logprob);
    EXPECT_LE(off.mean, kTrained.mean) << c.name;
    EXPECT_LE(off.worst, kTrained.worst) << c.name;
    testing::Test::RecordProperty(c.name + "_mean", std::to_string(off.mean));
    testing::Test::RecordProperty(c.name + "_worst", std::to_string(off.worst));
    std::cout << table.name << " tiny " << c.name << ": mean " << off.mean << " worst " << off.worst
              << "\n";
    ExpectGreedy(c, logits, kTrained.lead);
  }
}

TEST(ModelGoldenTest, TheTrainedModelSpeaksAsReleasedOnTheServingTable) {
  ExpectTiny(kernels::kCpuKernels, 1000);
}

TEST(ModelGoldenTest, TheTrainedModelSpeaksAsReleasedOnTheReferenceTable) {
  ExpectTiny(kernels::kCpuReferenceKernels, 40);
}

}  // namespace
}  // namespace tandem
