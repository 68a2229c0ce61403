// SPDX-License-Identifier: Apache-2.0
// Goal: configs that take more memory than GPUs have, or let in prompts for which staging memory
// has no room, are named before they are started. Method: configs as text, GPUs made up.
#include "services/tools/doctor/memory_checks.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/config/text_config.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kGb = 1'000'000'000;

template <typename Config>
Config ConfigOf(const std::string& worker, const std::string& rest) {
  Config config;
  const std::string text = absl::StrCat(
      "worker { listen: \"127.0.0.1:0\" model_dir: \"", TANDEM_SOURCE_DIR,
      "/deploy/models/v4-flash\" load_format: LOAD_FORMAT_DUMMY ", worker, " } ", rest);
  EXPECT_TRUE(ParseTextConfig("test", text, config).ok()) << text;
  ApplyDefaults(config);
  EXPECT_TRUE(Validate(config).ok()) << text;
  return config;
}

v1::DecodeConfig Decode(const std::string& worker, const std::string& rest = "") {
  return ConfigOf<v1::DecodeConfig>(worker, rest);
}

v1::PrefillConfig Prefill(const std::string& worker, const std::string& rest = "") {
  return ConfigOf<v1::PrefillConfig>(worker, rest);
}

const std::string kTwo = "device: DEVICE_CUDA tensor_parallel: 2 ";
const std::string kOthers = kTwo + "gpus: [2, 3] ";
const std::string kIpc = "kv_channel_kind: KV_CHANNEL_KIND_IPC ";

struct Pair {
  std::vector<v1::DecodeConfig> decodes;
  std::vector<v1::PrefillConfig> prefills;

  Findings Memory(int gpus, int64_t free_bytes) const {
    GpuList list;
    for (int i = 0; i < gpus; ++i) list.gpus.push_back({.index = i, .free_bytes = free_bytes});
    return CheckGpuMemory({.decodes = decodes, .prefills = prefills, .list = list});
  }
  Findings Staging() const {
    return CheckStaging({.decodes = decodes, .prefills = prefills, .list = {}});
  }
};

TEST(MemoryChecksTest, APoolThatDoesNotFit) {
  const Pair fits{.decodes = {Decode(kTwo, "pages: 13000")}};
  const Findings good = fits.Memory(2, 96 * kGb);
  ASSERT_EQ(good.size(), 2U) << TextOf(good);
  EXPECT_FALSE(AnyProblem(good)) << TextOf(good);
  EXPECT_THAT(TextOf(good), HasSubstr("of it, 96.0 GB are free"));
  const Pair large{.decodes = {Decode(kTwo, "pages: 999999")}};
  const Findings bad = large.Memory(2, 96 * kGb);
  EXPECT_TRUE(AnyProblem(bad));
  EXPECT_THAT(TextOf(bad), HasSubstr("fewer pages or slots"));
  // Nothing to compare with, which is said elsewhere.
  EXPECT_THAT(large.Memory(0, 0), IsEmpty());
}

TEST(MemoryChecksTest, WorkersOfOneGpuAreAddedUp) {
  const std::string pages = "pages: 4000";
  // 79 GB of weights each.
  const Pair twice{.decodes = {Decode(kTwo, pages)}, .prefills = {Prefill(kTwo)}};
  EXPECT_TRUE(AnyProblem(twice.Memory(4, 140 * kGb)));
  EXPECT_FALSE(AnyProblem(twice.Memory(4, 180 * kGb)));
  const std::string shared = kTwo + "weights: WEIGHTS_SHARED";
  const Pair once{.decodes = {Decode(shared, pages)}, .prefills = {Prefill(shared)}};
  EXPECT_FALSE(AnyProblem(once.Memory(4, 96 * kGb))) << TextOf(once.Memory(4, 96 * kGb));
  const Pair apart{.decodes = {Decode(kTwo, pages)}, .prefills = {Prefill(kOthers)}};
  const Findings all = apart.Memory(4, 96 * kGb);
  EXPECT_EQ(all.size(), 4U);
  EXPECT_FALSE(AnyProblem(all)) << TextOf(all);
}

TEST(MemoryChecksTest, StagingMemoryCounts) {
  const Pair pair{.prefills = {Prefill(kTwo, "staging_pages: 20000")}};
  EXPECT_TRUE(AnyProblem(pair.Memory(2, 96 * kGb)));
}

TEST(MemoryChecksTest, AGpuThatIsNotThere) {
  const Pair pair{.decodes = {Decode(kOthers)}};
  EXPECT_THAT(TextOf(pair.Memory(2, 96 * kGb)), HasSubstr("a config names it, and there are 2"));
}

TEST(MemoryChecksTest, PromptsThatStagingMemoryDoesNotHold) {
  const std::string context = "context_tokens_max: 131072 ";
  const std::string pages = "pages: 4000";
  const auto said = [&](const std::string& prefill, const std::string& rest) {
    return Pair{.decodes = {Decode(kTwo + context, pages)}, .prefills = {Prefill(prefill, rest)}}
        .Staging();
  };
  // Other GPUs, whatever the kind says: 256 pages are 65,536 tokens.
  for (const std::string& kind : {std::string(), kIpc}) {
    const Findings bad = said(kOthers + context, kind);
    EXPECT_TRUE(AnyProblem(bad)) << kind;
    EXPECT_THAT(TextOf(bad), AllOf(HasSubstr("256 hold 65,536 tokens"), HasSubstr("131,072"),
                                   HasSubstr("staging_pages: 512")));
  }
  EXPECT_TRUE(AnyProblem(said(kTwo + context, kIpc))) << "the same GPUs, not in place";
  EXPECT_THAT(said(kOthers + context, kIpc + "staging_pages: 512"), IsEmpty());
  EXPECT_THAT(said(kTwo + context, ""), IsEmpty()) << "in place";
  // Where the config does not promise it, it is no problem.
  const Findings silent = said(kOthers, kIpc);
  EXPECT_EQ(silent.size(), 1U);
  EXPECT_FALSE(AnyProblem(silent));
}

TEST(MemoryChecksTest, WhatDecodeHoldsBoundsWhatIsStaged) {
  const Pair small{.decodes = {Decode(kTwo, "pages: 256")}, .prefills = {Prefill(kOthers, kIpc)}};
  EXPECT_THAT(small.Staging(), IsEmpty());
  const Pair unknown{.prefills = {Prefill(kTwo, kIpc)}};
  EXPECT_EQ(unknown.Staging().size(), 1U);
  const Pair in_place{.prefills = {Prefill(kTwo)}};
  EXPECT_THAT(in_place.Staging(), IsEmpty());
}

}  // namespace
}  // namespace tandem
