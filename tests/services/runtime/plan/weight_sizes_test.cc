// SPDX-License-Identifier: Apache-2.0
// Goal: the sizes are those of real checkpoints. Method: against every tensor of tiny-v4, and
// against the totals of the released ones (specification 2.7, 7.3, 7.4).
#include "services/runtime/plan/weight_sizes.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/loader/loaded_model.h"
#include "services/runtime/loader/store/checkpoint.h"
#include "services/runtime/plan/model_folder.h"

namespace tandem {
namespace {

using testing::HasSubstr;

const std::string kModels = std::string(TANDEM_SOURCE_DIR) + "/deploy/models/";

TEST(WeightSizesTest, TinyV4ToTheByte) {
  const auto checkpoint = Checkpoint::Open(kModels + "tiny-v4");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto config = ModelConfig::FromFolder(kModels + "tiny-v4");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(SizesOf(*config).checkpoint, static_cast<int64_t>(checkpoint->bytes()));
  const auto folder = OpenModelFolder(kModels + "tiny-v4");
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->bytes, static_cast<int64_t>(checkpoint->bytes()));
}

TEST(WeightSizesTest, ReleasedModels) {
  const auto flash = ModelConfig::FromFolder(kModels + "v4-flash");
  ASSERT_TRUE(flash.ok()) << flash.status();
  const WeightSizes sizes = SizesOf(*flash);
  EXPECT_NEAR(static_cast<double>(sizes.checkpoint), 156.0e9, 0.05e9);
  EXPECT_NEAR(static_cast<double>(sizes.vocabulary), 2 * 1.059e9, 0.001e9);
  // The sizes of 2.7 are with the drafter, a 44th layer.
  EXPECT_NEAR(static_cast<double>(sizes.experts), (141.73e9 + 8.86e9) * 43 / 44, 0.02e9);
  EXPECT_NEAR(static_cast<double>(sizes.shared), 1.107e9 * 43 / 44, 0.001e9);
  // Fragment order fills up what is no whole tile: next to nothing.
  EXPECT_NEAR(static_cast<double>(sizes.total()) / static_cast<double>(sizes.checkpoint), 1, 1e-4);
  const auto pro = ModelConfig::FromFolder(kModels + "v4-pro");
  ASSERT_TRUE(pro.ok()) << pro.status();
  EXPECT_NEAR(static_cast<double>(SizesOf(*pro).checkpoint), 850.7e9, 0.05e9);
}

// With WEIGHTS_SHARED they lie in /dev/shm.
TEST(WeightSizesTest, OnAHostPreparedAtMost) {
  const auto config = ModelConfig::FromFolder(kModels + "tiny-v4");
  ASSERT_TRUE(config.ok()) << config.status();
  const int64_t most = MostOnHost(*config);
  const auto loaded =
      LoadedModel::Load({.folder = kModels + "tiny-v4", .kernels = kernels::kCpuKernels});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_LE((*loaded)->bytes(), most);
  EXPECT_GE((*loaded)->bytes(), most / 2);
}

TEST(WeightSizesTest, AFolderWithoutWeightsIsNone) {
  const auto folder = OpenModelFolder(kModels + "v4-flash");
  EXPECT_TRUE(absl::IsNotFound(folder.status())) << folder.status();
  EXPECT_THAT(std::string(folder.status().message()), HasSubstr("model.safetensors"));
}

}  // namespace
}  // namespace tandem
