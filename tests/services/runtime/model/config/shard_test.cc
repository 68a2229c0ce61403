// SPDX-License-Identifier: Apache-2.0
// Goal: a rank's sizes are those of its part, or the refusal names field, limit and value.
// Method: Flash's sizes cut for 1 to 8 ranks; then sizes that do not divide.
#include "services/runtime/model/config/shard.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

ModelConfig Flash() {
  ModelConfig config;
  config.vocab_size = config.head_rows = 129280;
  config.hidden_size = 4096;
  config.num_attention_heads = 64;
  config.o_groups = 8;
  config.index_n_heads = 64;
  config.n_routed_experts = 256;
  config.moe_intermediate_size = 2048;
  return config;
}

std::string Error(const ModelConfig& config, const Shard& shard) {
  const auto local = ShardConfig(config, shard);
  EXPECT_TRUE(absl::IsInvalidArgument(local.status())) << local.status();
  return std::string(local.status().message());
}

TEST(ShardTest, CutsGroupsInnerWidthAndHeadAlone) {
  for (const int ranks : {1, 2, 4, 8}) {
    for (int rank = 0; rank < ranks; ++rank) {
      const auto local = ShardConfig(Flash(), {.rank = rank, .ranks = ranks});
      ASSERT_TRUE(local.ok()) << local.status();
      EXPECT_EQ(local->num_attention_heads, 64 / ranks);
      EXPECT_EQ(local->o_groups, 8 / ranks);
      EXPECT_EQ(local->heads_per_group(), 8);
      EXPECT_EQ(local->moe_intermediate_size, 2048 / ranks);
      EXPECT_EQ(local->head_rows, 129280 / ranks);
      EXPECT_EQ(local->vocab_size, 129280);
      EXPECT_EQ(local->hidden_size, 4096);
      EXPECT_EQ(local->index_n_heads, 64);
      EXPECT_EQ(local->n_routed_experts, 256);
    }
  }
}

TEST(ShardTest, PartsFollowEachOther) {
  for (int rank = 0; rank < 4; ++rank) {
    const Shard shard{.rank = rank, .ranks = 4};
    EXPECT_EQ(shard.Size(24), 6);
    EXPECT_EQ(shard.First(24), 6 * rank);
  }
}

TEST(ShardTest, NamesARankThatIsNot) {
  EXPECT_THAT(Error(Flash(), {.rank = 0, .ranks = 3}),
              HasSubstr("ranks must be one of 1, 2, 4, 8, got 3"));
  EXPECT_THAT(Error(Flash(), {.rank = 2, .ranks = 2}),
              HasSubstr("rank must be from 0 to 1, got 2"));
  EXPECT_THAT(Error(Flash(), {.rank = -1, .ranks = 1}),
              HasSubstr("rank must be from 0 to 0, got -1"));
}

TEST(ShardTest, NamesWhatTheRanksDoNotDivide) {
  ModelConfig config = Flash();
  config.o_groups = 4;
  EXPECT_THAT(Error(config, {.ranks = 8}),
              HasSubstr("o_groups must be a multiple of the 8 ranks, got 4"));
}

TEST(ShardTest, NarrowMlpsStayWhole) {
  ModelConfig config = Flash();
  EXPECT_FALSE(CutsMlps(config, {.ranks = 1}));
  EXPECT_TRUE(CutsMlps(config, {.ranks = 8}));
  config.moe_intermediate_size = 128;
  EXPECT_FALSE(CutsMlps(config, {.ranks = 2}));
  const auto local = ShardConfig(config, {.ranks = 2});
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_EQ(local->moe_intermediate_size, 128);
  EXPECT_EQ(local->num_attention_heads, 32);
}

TEST(ShardTest, AHeadThatDoesNotDivideStaysWhole) {
  ModelConfig config = Flash();
  EXPECT_FALSE(CutsHead(config, {.ranks = 1}));
  EXPECT_TRUE(CutsHead(config, {.ranks = 8}));
  config.vocab_size = config.head_rows = 1832;  // tiny-v4's
  EXPECT_TRUE(CutsHead(config, {.ranks = 2}));
  EXPECT_FALSE(CutsHead(config, {.ranks = 4}));
  const auto local = ShardConfig(config, {.ranks = 4});
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_EQ(local->head_rows, 1832);
}

}  // namespace
}  // namespace tandem
