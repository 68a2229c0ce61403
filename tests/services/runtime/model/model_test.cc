// SPDX-License-Identifier: Apache-2.0
// Goal: a token's logits depend on its sequence alone: not on chunking, neighbours, pages, slot, or
// what ran before. Method: tiny-v4 on the serving table; every comparison is of bits. Pools start
// full of NaN.
#include "services/runtime/model/model.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

class ModelTest : public ::testing::Test {
 protected:
  const kernels::KernelTable& table_ = kernels::kCpuKernels;
  const LoadedModel& loaded_ = ModelNamed("tiny", table_);
  std::unique_ptr<Model> model_ = MakeModel(loaded_, table_);
  // 323 tokens: more than two windows, two HCA rows, more CSA rows than index_topk, two pages.
  const std::vector<int32_t> prompt_ = LoadGolden("golden_tiny.json")[0].prompt;

  Pool MakePool(KvLayout::Size size) { return Pool(loaded_.config(), size); }
  LogitsRows2d Fresh(absl::Span<const int32_t> tokens) {
    Pool pool = MakePool({.pages = 4, .slots = 1});
    return RunTokens(*model_, pool, {.tokens = tokens});
  }
};

TEST_F(ModelTest, AnyChunkingGivesTheSameBits) {
  const LogitsRows2d whole = Fresh(prompt_);
  for (const int chunk : {1, 7, 64, 128, 200}) {
    Pool pool = MakePool({.pages = 4, .slots = 1});
    EXPECT_EQ(RunTokens(*model_, pool, {.tokens = prompt_, .chunk = chunk}), whole) << chunk;
  }
}

TEST_F(ModelTest, PagesAndSlotsDoNotChangeBits) {
  const LogitsRows2d whole = Fresh(prompt_);
  Pool pool = MakePool({.pages = 9, .slots = 5});
  const Place elsewhere{.slot = 3, .pages = {7, 2, 8, 0}};
  EXPECT_EQ(RunTokens(*model_, pool, {.place = elsewhere, .tokens = prompt_, .chunk = 50}), whole);
}

TEST_F(ModelTest, AUsedSlotStartsAnewAtPositionZero) {
  const LogitsRows2d whole = Fresh(prompt_);
  Pool pool = MakePool({.pages = 4, .slots = 1});
  const std::vector<int32_t> other(prompt_.rbegin(), prompt_.rend());
  RunTokens(*model_, pool, {.tokens = other});
  EXPECT_EQ(RunTokens(*model_, pool, {.tokens = prompt_, .chunk = 100}), whole);
}

TEST_F(ModelTest, NeighboursInAStepDoNotChangeBits) {
  // Sequences of different lengths advance together, each by chunks of its own size, prefill and
  // decode mixed.
  constexpr int kSequences = 5;
  constexpr int kChunk[kSequences] = {1, 3, 64, 17, 130};
  std::vector<std::vector<int32_t>> tokens;
  std::vector<LogitsRows2d> want, got(kSequences);
  for (int s = 0; s < kSequences; ++s) {
    tokens.emplace_back(prompt_.begin() + 2 * s, prompt_.begin() + 150 + 40 * s / 2);
    want.push_back(Fresh(tokens.back()));
  }
  Pool pool = MakePool({.pages = 10, .slots = kSequences});
  std::vector<std::vector<int32_t>> pages;
  for (int s = 0; s < kSequences; ++s) pages.push_back({9 - s, s});
  for (bool any = true; any;) {
    std::vector<SequenceChunk> chunks;
    std::vector<int> owner;
    for (int s = 0; s < kSequences; ++s) {
      const auto rest = absl::MakeConstSpan(tokens[s]).subspan(got[s].size());
      if (rest.empty()) continue;
      owner.push_back(s);
      chunks.push_back({.tokens = rest.subspan(0, kChunk[s]),
                        .start = static_cast<int64_t>(got[s].size()),
                        .slot = s,
                        .pages = pages[s],
                        .logits = LogitsRows::kAll});
    }
    any = !chunks.empty();
    model_->Forward(chunks, pool.view(), [&](const LogitsBlock& block) {
      LogitsRows2d rows;
      AppendRows(*model_, block, rows);
      for (size_t i = 0; i < rows.size(); ++i) {
        got[owner[block.rows[i].chunk]].push_back(std::move(rows[i]));
      }
    });
  }
  for (int s = 0; s < kSequences; ++s) EXPECT_EQ(got[s], want[s]) << s;
}

TEST_F(ModelTest, LogitsComeForTheRowsThatWereAskedFor) {
  const LogitsRows2d whole = Fresh(prompt_);
  Pool pool = MakePool({.pages = 6, .slots = 3});
  const auto tokens = absl::MakeConstSpan(prompt_).subspan(0, 100);
  const std::vector<int32_t> pages[] = {{0}, {1}, {2}};
  const SequenceChunk chunks[] = {
      {.tokens = tokens, .slot = 0, .pages = pages[0], .logits = LogitsRows::kNone},
      {.tokens = tokens, .slot = 1, .pages = pages[1], .logits = LogitsRows::kAll},
      {.tokens = tokens, .slot = 2, .pages = pages[2], .logits = LogitsRows::kLast}};
  std::vector<std::pair<int, int>> seen;
  LogitsRows2d rows;
  model_->Forward(chunks, pool.view(), [&](const LogitsBlock& block) {
    for (const LogitsRow& row : block.rows) seen.emplace_back(row.chunk, row.token);
    AppendRows(*model_, block, rows);
    ASSERT_EQ(rows.size(), seen.size());
  });
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], whole[seen[i].second]);
  ASSERT_EQ(seen.size(), 101u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(seen[i], std::make_pair(1, i));
  EXPECT_EQ(seen.back(), std::make_pair(2, 99));
}

TEST_F(ModelTest, AnEmptyStepDoesNothing) {
  Pool pool = MakePool({.pages = 1, .slots = 1});
  model_->Forward({}, pool.view(), [](const LogitsBlock&) { ADD_FAILURE(); });
}

TEST_F(ModelTest, RefusesLimitsOutOfRange) {
  const auto error = [&](const StepLimits& limits) {
    return std::string(
        Model::Create({.config = loaded_.config(), .weights = loaded_.weights(), .kernels = table_},
                      limits)
            .status()
            .message());
  };
  EXPECT_THAT(error({.max_tokens_per_step = 0}), HasSubstr("max_tokens_per_step must be from 1"));
  EXPECT_THAT(error({.max_chunks_per_step = -1}), HasSubstr("max_chunks_per_step must be from 1"));
  EXPECT_THAT(error({.max_positions = 1 << 21}),
              HasSubstr("max_positions must be from 1 to 1048576, got 2097152"));
}

using ModelDeathTest = ModelTest;

TEST_F(ModelDeathTest, ContractBreachesStopTheProcess) {
  Pool pool = MakePool({.pages = 2, .slots = 1});
  const std::vector<int32_t> good = {1, 2}, pages = {0}, bad = {1, 1920}, far = {2};
  const auto forward = [&](const SequenceChunk& chunk) {
    model_->Forward({&chunk, 1}, pool.view(), [](const LogitsBlock&) {});
  };
  EXPECT_DEATH(forward({.tokens = bad, .pages = pages}), "vocab_size");
  EXPECT_DEATH(forward({.tokens = good, .slot = 1, .pages = pages}), "slot");
  EXPECT_DEATH(forward({.tokens = good, .pages = far}), "page");
  EXPECT_DEATH(forward({.tokens = good, .start = 255, .pages = pages}), "pages");
}

}  // namespace
}  // namespace tandem
