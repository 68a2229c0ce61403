// SPDX-License-Identifier: Apache-2.0
// Goal: a model without a checkpoint loads from its config.json alone, computes sane numbers, and
// is one model on every rank. Method: tiny-v4's and random checkpoint a's sizes with made-up
// weights; a prompt on both CPU tables; parts against the whole.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "services/runtime/base/check.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/loader/loaded_model.h"
#include "services/runtime/model/model.h"
#include "tests/services/runtime/loader/scratch_folder.h"

namespace tandem {
namespace {

constexpr char kTiny[] = TANDEM_SOURCE_DIR "/deploy/models/tiny-v4";

std::unique_ptr<LoadedModel> Dummy(const std::string& model, const kernels::KernelTable& table,
                                   const Shard& shard = {}) {
  const ScratchFolder folder;
  std::filesystem::copy(model + "/config.json", folder / "config.json");
  auto loaded = LoadedModel::Load(
      {.folder = folder.path(), .kernels = table, .shard = shard, .format = LoadFormat::kDummy});
  CHECK(loaded.ok());
  return *std::move(loaded);
}

// The logits of every token of a prompt.
std::vector<std::vector<float>> Logits(const LoadedModel& loaded,
                                       const kernels::KernelTable& table) {
  const auto layout = KvLayout::Create(loaded.config(), {.pages = 1, .slots = 1});
  const auto model = Model::Create(
      {.config = loaded.shard_config(), .weights = loaded.weights(), .kernels = table},
      {.max_tokens_per_step = 64, .max_positions = 256});
  CHECK(layout.ok() && model.ok());
  std::vector<std::byte> memory(layout->bytes());
  std::vector<int32_t> tokens(24);
  std::iota(tokens.begin(), tokens.end(), 40);
  const int32_t page = 0;
  const SequenceChunk chunk{.tokens = tokens, .pages = {&page, 1}, .logits = LogitsRows::kAll};
  std::vector<std::vector<float>> out;
  (*model)->Forward({&chunk, 1}, {.base = memory.data(), .layout = &*layout},
                    [&out](const LogitsBlock& block) {
                      for (int64_t row = 0; row < block.logits.shape[0]; ++row) {
                        const float* at = block.logits.row(row);
                        out.emplace_back(at, at + block.logits.shape[1]);
                      }
                    });
  return out;
}

TEST(DummyModelTest, ComputesSaneNumbers) {
  for (const kernels::KernelTable* table :
       {&kernels::kCpuReferenceKernels, &kernels::kCpuKernels}) {
    const auto rows = Logits(*Dummy(kTiny, *table), *table);
    ASSERT_EQ(rows.size(), 24u);
    std::vector<int64_t> best;
    for (const std::vector<float>& row : rows) {
      double squares = 0;
      for (const float value : row) {
        ASSERT_TRUE(std::isfinite(value));
        squares += double{value} * value;
      }
      const double deviation = std::sqrt(squares / static_cast<double>(row.size()));
      EXPECT_GT(deviation, 0.1);
      EXPECT_LT(deviation, 10);
      best.push_back(std::max_element(row.begin(), row.end()) - row.begin());
    }
    std::sort(best.begin(), best.end());
    best.erase(std::unique(best.begin(), best.end()), best.end());
    EXPECT_GT(best.size(), 4u);  // answers differ
  }
}

TEST(DummyModelTest, IsTheSameEveryTime) {
  EXPECT_EQ(Logits(*Dummy(kTiny, kernels::kCpuKernels), kernels::kCpuKernels),
            Logits(*Dummy(kTiny, kernels::kCpuKernels), kernels::kCpuKernels));
}

TEST(DummyModelTest, RanksHoldPartsOfOneModel) {
  const std::string model = TANDEM_GOLDEN_DIR "/random-a";
  const auto whole = Dummy(model, kernels::kCpuReferenceKernels);
  for (int rank = 0; rank < 2; ++rank) {
    const auto part = Dummy(model, kernels::kCpuReferenceKernels, {.rank = rank, .ranks = 2});
    const kernels::LinearWeight& all = whole->weights().layers[3].ffn.experts[5].w1;
    const kernels::LinearWeight& own = part->weights().layers[3].ffn.experts[5].w1;
    std::vector<float> expected(all.k), actual(own.k);
    for (int64_t row = 0; row < own.n; ++row) {
      kernels::ReadWeightRow(all, rank * own.n + row, expected.data());
      kernels::ReadWeightRow(own, row, actual.data());
      ASSERT_EQ(actual, expected);
    }
  }
}

}  // namespace
}  // namespace tandem
