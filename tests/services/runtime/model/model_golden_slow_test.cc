// SPDX-License-Identifier: Apache-2.0
// Goal: every golden case on both kernel tables, and the same bits for every prefill chunk size.
// Method: each case runs whole against the golden, then in chunks against the whole run: of 1, 7
// and 64 tokens on the serving table, of 7 on the reference table, which is slow.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

class ModelGoldenSlowTest : public ::testing::TestWithParam<const kernels::KernelTable*> {
 protected:
  std::vector<int> Chunks() const {
    return GetParam() == &kernels::kCpuKernels ? std::vector<int>{1, 7, 64} : std::vector<int>{7};
  }
  void Expect(const std::string& name, const std::vector<GoldenCase>& cases,
              const Tolerance& tolerance) {
    const LoadedModel& loaded = ModelNamed(name, *GetParam());
    const auto model = MakeModel(loaded, *GetParam());
    for (const GoldenCase& c : cases) {
      Pool pool(loaded.config(), {.pages = 4, .slots = 1});
      const std::vector<int32_t> tokens = PromptAndAnswer(c);
      const LogitsRows2d whole = RunTokens(*model, pool, {.tokens = tokens});
      ExpectGolden(c, whole, tolerance);
      for (const int chunk : Chunks()) {
        EXPECT_EQ(RunTokens(*model, pool, {.tokens = tokens, .chunk = chunk}), whole)
            << c.name << " " << chunk;
      }
    }
  }
};

TEST_P(ModelGoldenSlowTest, TheTrainedModel) {
  Expect("tiny", LoadGolden("golden_tiny.json"), kTrained);
}

TEST_P(ModelGoldenSlowTest, TheRandomModel) {
  Expect("random-a", LoadGolden("golden_random_a.json"), kRandom);
}

TEST_P(ModelGoldenSlowTest, RandomModelsOfOtherSizes) {
  Expect("random-b", {LoadLayerPrompt("random_b")}, kRandom);
  Expect("random-c", {LoadLayerPrompt("random_c")}, kRandom);
}

INSTANTIATE_TEST_SUITE_P(Tables, ModelGoldenSlowTest,
                         ::testing::Values(&kernels::kCpuKernels, &kernels::kCpuReferenceKernels),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace tandem
