// SPDX-License-Identifier: Apache-2.0
// Goal: a damaged checkpoint folder gives one clear error or loads; it never crashes (ASan runs
// this too). Method: copies of the smallest random checkpoint with seeded random damage to header,
// index, config and length.
#include "services/runtime/loader/loaded_model.h"

#include <filesystem>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/model/model.h"
#include "tests/services/runtime/loader/scratch_folder.h"

namespace tandem {
namespace {

constexpr char kShard[] = "model-00001-of-00001.safetensors";

class LoadedModelTest : public ::testing::Test {
 protected:
  LoadedModelTest() {
    for (const auto& file : std::filesystem::directory_iterator(TANDEM_GOLDEN_DIR "/random-d")) {
      std::filesystem::copy(file.path(), folder_ / file.path().filename().string());
    }
  }

  absl::StatusOr<std::unique_ptr<LoadedModel>> Load(const kernels::KernelSet& kernels) {
    return LoadedModel::Load({.folder = folder_.path(), .kernels = kernels});
  }

  // Writes `bytes` as `name`, loads, puts the original back. Whether the load was refused.
  bool IsRefused(const std::string& name, const std::string& bytes) {
    const std::string path = folder_ / name;
    std::filesystem::remove(path);
    WriteAll(path, bytes);
    const auto loaded = Load(kernels::kCpuReferenceKernels);
    if (loaded.ok()) return false;
    EXPECT_FALSE(loaded.status().message().empty());
    EXPECT_EQ(loaded.status().message().find('\n'), absl::string_view::npos);
    EXPECT_LT(loaded.status().message().size(), 4000u);
    return true;
  }

  // `count` copies of the first `span` bytes with one byte changed, and how many of them were
  // refused.
  int RefusedFlips(const std::string& name, size_t span, int count) {
    const std::string whole = ReadAll(folder_ / name);
    std::mt19937 random(7);
    int refused = 0;
    for (int i = 0; i < count; ++i) {
      std::string broken = whole;
      char& byte = broken[random() % std::min(span, whole.size())];
      byte = static_cast<char>(i % 2 == 0 ? byte ^ (1 << random() % 8) : random());
      refused += IsRefused(name, broken);
    }
    WriteAll(folder_ / name, whole);
    return refused;
  }

  void RunSomeTokens(const LoadedModel& loaded) {
    const auto layout = KvLayout::Create(loaded.config(), {.pages = 1, .slots = 1});
    const auto model = Model::Create(
        {.config = loaded.config(), .weights = loaded.weights(), .kernels = kernels::kCpuKernels},
        {.max_tokens_per_step = 16, .max_positions = 256});
    ASSERT_TRUE(layout.ok() && model.ok());
    std::vector<std::byte> memory(layout->bytes());
    std::vector<int32_t> tokens(16);
    std::iota(tokens.begin(), tokens.end(), 40);
    const int32_t page = 0;
    const SequenceChunk chunk{.tokens = tokens, .pages = {&page, 1}};
    int rows = 0;
    (*model)->Forward(
        {&chunk, 1}, {.base = memory.data(), .layout = &*layout},
        [&rows](const LogitsBlock& block) { rows += static_cast<int>(block.rows.size()); });
    EXPECT_EQ(rows, 1);
  }

  ScratchFolder folder_;
};

TEST_F(LoadedModelTest, LoadsOnBothTables) {
  for (const kernels::KernelTable* table :
       {&kernels::kCpuReferenceKernels, &kernels::kCpuKernels}) {
    const auto loaded = Load(*table);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ((*loaded)->config().vocab_size, 64);
    EXPECT_EQ((*loaded)->bytes() > 0, table == &kernels::kCpuKernels);
  }
}

TEST_F(LoadedModelTest, FlippedHeaderBytesNeverCrash) {
  EXPECT_GT(RefusedFlips(kShard, 8, 40), 30);
  EXPECT_GT(RefusedFlips(kShard, 12'000, 300), 250);
}

TEST_F(LoadedModelTest, FlippedIndexAndConfigBytesNeverCrash) {
  EXPECT_GT(RefusedFlips("model.safetensors.index.json", 1 << 20, 150), 100);
  EXPECT_GT(RefusedFlips("config.json", 1 << 20, 150), 60);
}

TEST_F(LoadedModelTest, FlippedDataBytesNeverCrash) {
  RefusedFlips(kShard, size_t{1} << 40, 100);
}

// A NaN or an infinity anywhere may spoil the answer, never the process.
TEST_F(LoadedModelTest, DamagedWeightsStillRun) {
  const std::string whole = ReadAll(folder_ / kShard);
  std::mt19937 random(11);
  int ran = 0;
  for (int i = 0; i < 12; ++i) {
    std::string broken = whole;
    for (int k = 0; k < 2000; ++k) {
      // Bits 6 and 7 set make NaNs and infinities of every float format likely.
      broken[20'000 + random() % (whole.size() - 20'000)] |= static_cast<char>(0x7F);
    }
    WriteAll(folder_ / kShard, broken);
    const auto loaded = Load(kernels::kCpuKernels);
    if (!loaded.ok()) continue;
    RunSomeTokens(**loaded);
    ++ran;
  }
  EXPECT_GT(ran, 0);
}

TEST_F(LoadedModelTest, RefusesScalesThatAreNotNumbers) {
  const std::string whole = ReadAll(folder_ / kShard);
  uint64_t length = 0;
  whole.copy(reinterpret_cast<char*>(&length), sizeof(length));
  const auto header = nlohmann::json::parse(whole.substr(8, length));
  for (const auto& [tensor, element] : {std::pair<std::string, size_t>{"layers.2.attn.wo_b", 0},
                                        {"layers.0.ffn.experts.1.w2", 5}}) {
    std::string broken = whole;
    const auto begin = header[tensor + ".scale"]["data_offsets"][0].get<size_t>();
    broken[8 + length + begin + element] = '\xff';
    WriteAll(folder_ / kShard, broken);
    for (const kernels::KernelTable* table :
         {&kernels::kCpuReferenceKernels, &kernels::kCpuKernels}) {
      EXPECT_EQ(Load(*table).status(),
                absl::InvalidArgumentError(absl::StrCat("checkpoint: ", tensor,
                                                        ".scale must hold no NaN (byte 255), ",
                                                        "element ", element, " is")));
    }
  }
}

TEST_F(LoadedModelTest, TruncatedFilesAreRefusedAtEveryLength) {
  for (const char* name : {kShard, "model.safetensors.index.json", "config.json"}) {
    const std::string whole = ReadAll(folder_ / name);
    for (const size_t length :
         {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{9}, size_t{100}, size_t{1000},
          whole.size() / 2, whole.size() - 100, whole.size() - 2}) {
      if (length >= whole.size()) continue;
      EXPECT_TRUE(IsRefused(name, whole.substr(0, length))) << name << " " << length;
    }
    WriteAll(folder_ / name, whole);
  }
}

TEST_F(LoadedModelTest, AppendedBytesAreRefused) {
  EXPECT_TRUE(IsRefused(kShard, ReadAll(folder_ / kShard) + "x"));
}

TEST_F(LoadedModelTest, AMissingFolderIsNamed) {
  const auto loaded =
      LoadedModel::Load({.folder = "/nonexistent", .kernels = kernels::kCpuKernels});
  EXPECT_TRUE(absl::IsNotFound(loaded.status()));
}

}  // namespace
}  // namespace tandem
