// SPDX-License-Identifier: Apache-2.0
// Goal: the model behind the seam is the model: tokens and log-probabilities to the bit, and none
// that was not asked for. Method: two prompts of tiny-v4 side by side in chunks, against Forward
// and Draw by hand.
#include "services/runtime/engine/model_engine.h"

#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

// One row alone.
std::pair<TokenChoice, float> Draw(const RowWish& wish, const std::vector<float>& logits) {
  kernels::Stream stream;
  kernels::Mirror inputs(kernels::HostBackend());
  Draws draws(kernels::kCpuKernels, stream, /*draws=*/8);
  inputs.Reset(Draws::Room({wish}));
  draws.Begin({wish}, inputs);
  inputs.ToDevice(stream);
  draws.Run({logits.data(), {1, static_cast<int64_t>(logits.size())}});
  draws.Fetch();
  return {wish.sampler != nullptr ? draws.Choice(0) : TokenChoice(),
          wish.target >= 0 ? draws.TargetLogprob(0) : 0.0F};
}

TEST(ModelEngineTest, DrawsAndScoresAsTheModelDoes) {
  const LoadedModel& loaded = ModelNamed("tiny", kernels::kCpuKernels);
  const std::vector<GoldenCase> cases = LoadGolden("golden_tiny.json", 120);
  ASSERT_GE(cases.size(), 2U);
  const std::vector<int32_t>& first = cases[0].prompt;
  const std::vector<int32_t>& second = cases[1].prompt;
  const Place here{.slot = 0, .pages = {0}}, there{.slot = 1, .pages = {1}};

  Pool plain(loaded.config(), {.pages = 2, .slots = 2});
  const auto model = MakeModel(loaded, kernels::kCpuKernels);
  const LogitsRows2d first_rows = RunTokens(*model, plain, {.place = here, .tokens = first});
  const LogitsRows2d second_rows = RunTokens(*model, plain, {.place = there, .tokens = second});

  auto engine = *ModelEngine::Create(
      {.config = loaded.config(), .weights = loaded.weights(), .kernels = kernels::kCpuKernels},
      {.max_tokens_per_step = 256, .max_positions = 1024});
  Pool pool(loaded.config(), {.pages = 2, .slots = 2});
  const Sampler sampler(SamplerSpec{.seed = 7, .logprobs = 2}, {});
  const auto head = absl::MakeConstSpan(first).subspan(0, 5);
  const auto tail = absl::MakeConstSpan(first).subspan(5);
  const ChunkResult silent =
      engine->Step({{.tokens = head, .slot = here.slot, .pages = here.pages}}, pool.view())[0];
  EXPECT_TRUE(silent.target_logprobs.empty());
  const std::vector<ChunkResult> results = engine->Step(
      {{.tokens = second,
        .slot = there.slot,
        .pages = there.pages,
        .sampler = &sampler,
        .targets = absl::MakeConstSpan(second).subspan(1)},
       {.tokens = tail, .start = 5, .slot = here.slot, .pages = here.pages, .sampler = &sampler}},
      pool.view());

  ASSERT_EQ(results[0].target_logprobs.size(), second.size() - 1);
  for (size_t i = 0; i + 1 < second.size(); ++i) {
    EXPECT_EQ(results[0].target_logprobs[i],
              Draw({.target = second[i + 1]}, second_rows[i]).second);
  }
  const auto expect = [&](const TokenChoice& choice, const std::vector<float>& logits) {
    const TokenChoice drawn = Draw({.sampler = &sampler}, logits).first;
    EXPECT_EQ(choice.id, drawn.id);
    EXPECT_EQ(choice.logprob, drawn.logprob);
    ASSERT_EQ(choice.top.size(), 2U);
    EXPECT_EQ(choice.top[1].id, drawn.top[1].id);
  };
  expect(results[0].choice, second_rows.back());
  expect(results[1].choice, first_rows.back());
  EXPECT_TRUE(results[1].target_logprobs.empty());
}

}  // namespace
}  // namespace tandem
