// SPDX-License-Identifier: Apache-2.0
// Goal: the parts that the ranks bind are the whole model, each value once, in place. Method:
// random checkpoint a whole and as two ranks; split tensors put together, all others compared as
// they are; the fast table's prepared form of a part against the part's own values.
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/kernel_table.h"
#include "services/runtime/base/check.h"
#include "services/runtime/loader/loaded_model.h"

namespace tandem {
namespace {

using kernels::LinearWeight;
using ::testing::HasSubstr;

constexpr int kRanks = 2;

std::unique_ptr<LoadedModel> Load(const kernels::KernelTable& table, const Shard& shard) {
  auto loaded = LoadedModel::Load(
      {.folder = TANDEM_GOLDEN_DIR "/random-a", .kernels = table, .shard = shard});
  CHECK(loaded.ok());
  return *std::move(loaded);
}

std::vector<float> Row(const LinearWeight& weight, int64_t row) {
  std::vector<float> values(weight.k);
  kernels::ReadWeightRow(weight, row, values.data());
  return values;
}

void ExpectTheSame(const LinearWeight& a, const LinearWeight& b) {
  ASSERT_EQ(a.n, b.n);
  for (int64_t row = 0; row < a.n; ++row) ASSERT_EQ(Row(a, row), Row(b, row)) << row;
}

class ShardBindingTest : public ::testing::Test {
 protected:
  // Of a matrix of the model in any of its forms.
  using Pick = const LinearWeight& (*)(const LayerWeights&);

  void ExpectRows(Pick pick) {
    for (size_t layer = 0; layer < whole_->weights().layers.size(); ++layer) {
      const LinearWeight& whole = pick(whole_->weights().layers[layer]);
      for (int rank = 0; rank < kRanks; ++rank) {
        const LinearWeight& part = pick(parts_[rank]->weights().layers[layer]);
        ASSERT_EQ(part.k, whole.k);
        ASSERT_EQ(part.n * kRanks, whole.n);
        for (int64_t row = 0; row < part.n; ++row) {
          ASSERT_EQ(Row(part, row), Row(whole, rank * part.n + row)) << row;
        }
      }
    }
  }

  void ExpectColumns(Pick pick) {
    for (size_t layer = 0; layer < whole_->weights().layers.size(); ++layer) {
      const LinearWeight& whole = pick(whole_->weights().layers[layer]);
      for (int64_t row = 0; row < whole.n; ++row) {
        std::vector<float> together;
        for (int rank = 0; rank < kRanks; ++rank) {
          const LinearWeight& part = pick(parts_[rank]->weights().layers[layer]);
          ASSERT_EQ(part.n, whole.n);
          const std::vector<float> columns = Row(part, row);
          together.insert(together.end(), columns.begin(), columns.end());
        }
        ASSERT_EQ(together, Row(whole, row)) << row;
      }
    }
  }

  void ExpectReplicas(Pick pick) {
    for (size_t layer = 0; layer < whole_->weights().layers.size(); ++layer) {
      for (const auto& part : parts_) {
        ExpectTheSame(pick(part->weights().layers[layer]), pick(whole_->weights().layers[layer]));
      }
    }
  }

  const std::unique_ptr<LoadedModel> whole_ = Load(kernels::kCpuReferenceKernels, {});
  const std::unique_ptr<LoadedModel> parts_[kRanks] = {
      Load(kernels::kCpuReferenceKernels, {.rank = 0, .ranks = kRanks}),
      Load(kernels::kCpuReferenceKernels, {.rank = 1, .ranks = kRanks})};
};

TEST_F(ShardBindingTest, RowsOfFp8AndFp4) {
  ExpectRows([](const LayerWeights& w) -> const LinearWeight& { return w.attn.wq_b; });
  ExpectRows([](const LayerWeights& w) -> const LinearWeight& { return w.attn.wo_a; });
  ExpectRows([](const LayerWeights& w) -> const LinearWeight& { return w.ffn.shared_experts.w1; });
  ExpectRows([](const LayerWeights& w) -> const LinearWeight& { return w.ffn.shared_experts.w3; });
  ExpectRows([](const LayerWeights& w) -> const LinearWeight& { return w.ffn.experts[0].w1; });
  ExpectRows([](const LayerWeights& w) -> const LinearWeight& { return w.ffn.experts[15].w3; });
}

TEST_F(ShardBindingTest, ColumnsOfFp8AndFp4) {
  ExpectColumns([](const LayerWeights& w) -> const LinearWeight& { return w.attn.wo_b; });
  ExpectColumns(
      [](const LayerWeights& w) -> const LinearWeight& { return w.ffn.shared_experts.w2; });
  ExpectColumns([](const LayerWeights& w) -> const LinearWeight& { return w.ffn.experts[7].w2; });
}

TEST_F(ShardBindingTest, AllElseIsWholeOnEveryRank) {
  ExpectReplicas([](const LayerWeights& w) -> const LinearWeight& { return w.attn.wq_a; });
  ExpectReplicas([](const LayerWeights& w) -> const LinearWeight& { return w.attn.wkv; });
  ExpectReplicas([](const LayerWeights& w) -> const LinearWeight& { return w.ffn.gate; });
  for (int rank = 0; rank < kRanks; ++rank) {
    const IndexerWeights& indexer = *parts_[rank]->weights().layers[2].attn.indexer;
    ExpectTheSame(indexer.wq_b, whole_->weights().layers[2].attn.indexer->wq_b);
    const FloatVector& whole = whole_->weights().layers[1].attn.attn_sink;
    const FloatVector& part = parts_[rank]->weights().layers[1].attn.attn_sink;
    ASSERT_EQ(part.size() * kRanks, whole.size());
    for (int64_t i = 0; i < part.size(); ++i) EXPECT_EQ(part[i], whole[rank * part.size() + i]);
  }
}

TEST_F(ShardBindingTest, TheHeadIsCutByVocabulary) {
  const LinearWeight& whole = whole_->weights().head;
  for (int rank = 0; rank < kRanks; ++rank) {
    const LinearWeight& part = parts_[rank]->weights().head;
    ASSERT_EQ(part.n * kRanks, whole.n);
    for (int64_t row = 0; row < part.n; ++row) {
      ASSERT_EQ(Row(part, row), Row(whole, rank * part.n + row)) << row;
    }
  }
}

TEST_F(ShardBindingTest, SizesAreThoseOfTheViews) {
  for (int rank = 0; rank < kRanks; ++rank) {
    const ModelConfig& config = parts_[rank]->shard_config();
    const LayerWeights& layer = parts_[rank]->weights().layers[0];
    EXPECT_EQ(parts_[rank]->config().num_attention_heads, 8);
    EXPECT_EQ(layer.attn.wq_b.n, int64_t{config.num_attention_heads} * kHeadDim);
    EXPECT_EQ(layer.attn.wo_a.n, int64_t{config.o_groups} * config.o_lora_rank);
    EXPECT_EQ(layer.ffn.experts[0].w1.n, config.moe_intermediate_size);
    EXPECT_EQ(parts_[rank]->weights().head.n, config.head_rows);
  }
}

// y = I·Wᵀ through the prepared form: column k of W is row k of y.
TEST_F(ShardBindingTest, AFastTablePreparesThePartAlone) {
  const auto fast = Load(kernels::kCpuKernels, {.rank = 1, .ranks = kRanks});
  for (const LinearWeight& part : {fast->weights().layers[0].ffn.shared_experts.w2,
                                   fast->weights().layers[0].ffn.experts[3].w2}) {
    ASSERT_NE(part.prepared, nullptr);
    const int64_t k = part.k;
    std::vector<kernels::E4M3> q(k * k);
    for (int64_t i = 0; i < k; ++i) q[i * k + i] = kernels::ToE4M3(1);
    std::vector<kernels::Ue8m0> scale(k * (k / 128), kernels::Ue8m0{127});
    std::vector<kernels::Bf16> y(k * part.n);
    kernels::Stream stream;
    kernels::kCpuKernels.quant_linear({.q = {q.data(), {k, k}},
                                       .scale = {scale.data(), {k, k / 128}},
                                       .weight = part,
                                       .y = {y.data(), {k, part.n}}},
                                      stream);
    for (int64_t n = 0; n < part.n; ++n) {
      const std::vector<float> row = Row(part, n);
      for (int64_t i = 0; i < k; ++i) ASSERT_EQ(kernels::ToFloat(y[i * part.n + n]), row[i]);
    }
  }
}

TEST(ShardRefusalTest, NamesWhatDoesNotDivide) {
  const auto loaded = LoadedModel::Load({.folder = TANDEM_SOURCE_DIR "/deploy/models/tiny-v4",
                                         .kernels = kernels::kCpuKernels,
                                         .shard = {.rank = 0, .ranks = 8}});
  EXPECT_THAT(std::string(loaded.status().message()),
              HasSubstr("o_groups must be a multiple of the 8 ranks, got 4"));
}

}  // namespace
}  // namespace tandem
