// SPDX-License-Identifier: Apache-2.0
// Goal: the whole forward pass reproduces the released code's results within the design's
// tolerances (section 3). Method: golden prompts and greedy answers, teacher-forced, on tiny-v4 and
// on random checkpoints of other sizes. The long cases and the chunk sizes of the reference table
// stand in model_golden_slow_test.cc.
#include <string>

#include "gtest/gtest.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

constexpr size_t kShort = 40;  // prompt tokens

struct GoldenArgs {
  std::string model;
  const kernels::KernelTable* table;
  std::vector<GoldenCase> cases;
  Tolerance tolerance;
};

void Expect(const GoldenArgs& args) {
  const LoadedModel& loaded = ModelNamed(args.model, *args.table);
  const auto model = MakeModel(loaded, *args.table);
  Pool pool(loaded.config(), {.pages = 4, .slots = 1});
  for (const GoldenCase& c : args.cases) {
    ExpectGolden(c, RunTokens(*model, pool, {.tokens = PromptAndAnswer(c)}), args.tolerance);
  }
}

TEST(ModelGoldenTest, TheTrainedModelSpeaksAsReleased) {
  Expect({.model = "tiny",
          .table = &kernels::kCpuKernels,
          .cases = LoadGolden("golden_tiny.json"),
          .tolerance = kTrained});
}

TEST(ModelGoldenTest, TheTrainedModelSpeaksAsReleasedOnTheReferenceTable) {
  Expect({.model = "tiny",
          .table = &kernels::kCpuReferenceKernels,
          .cases = LoadGolden("golden_tiny.json", kShort),
          .tolerance = kTrained});
}

TEST(ModelGoldenTest, ARandomModelStaysNearTheReleasedCode) {
  Expect({.model = "random-a",
          .table = &kernels::kCpuKernels,
          .cases = LoadGolden("golden_random_a.json", 200),
          .tolerance = kRandom});
}

TEST(ModelGoldenTest, RandomModelsOfOtherSizesStayNearTheReference) {
  Expect({.model = "random-b",
          .table = &kernels::kCpuKernels,
          .cases = {LoadLayerPrompt("random_b")},
          .tolerance = kRandom});
  Expect({.model = "random-c",
          .table = &kernels::kCpuKernels,
          .cases = {LoadLayerPrompt("random_c")},
          .tolerance = kRandom});
}

}  // namespace
}  // namespace tandem
