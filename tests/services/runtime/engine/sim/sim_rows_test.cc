// SPDX-License-Identifier: Apache-2.0
// Goal: a prompt's ids survive the hand-off by extents, and nothing else does: a page, slot or
// extent that is wrong shows. Method: prompts on both sides of every boundary (ratios, window,
// page) are written in one pool, copied extent by extent to another and read there; then the same
// with one fault each. Pools start full of other bytes.
#include "services/runtime/engine/sim/sim_rows.h"

#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

const Place kHere{.slot = 0, .pages = {0, 1, 2}};
const Place kThere{.slot = 3, .pages = {6, 1, 4}};

ModelConfig TinyConfig() {
  return *ModelConfig::FromFolder(TANDEM_SOURCE_DIR "/deploy/models/tiny-v4");
}

std::vector<int32_t> PromptOf(int64_t tokens) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < tokens; ++i) out.push_back(static_cast<int32_t>(3 + i * 37 % 1800));
  return out;
}

class SimRowsTest : public ::testing::TestWithParam<int> {
 protected:
  SimRowsTest()
      : config_(TinyConfig()),
        layers_(SimRows::Layers(config_)),
        from_(config_, {.pages = 3, .slots = 1}),
        to_(config_, {.pages = 7, .slots = 4}) {}

  SimRows RowsOf(Pool& pool, const Place& place) {
    return SimRows({.kv = pool.view(),
                    .place = {.slot = place.slot, .pages = place.pages},
                    .layers = layers_});
  }

  std::vector<KvExtent> ExtentsOf(Pool& pool, const Place& place) {
    return pool.layout().Extents({.slot = place.slot, .pages = place.pages}, GetParam());
  }

  void HandOver() {
    const std::vector<KvExtent> source = ExtentsOf(from_, kHere);
    const std::vector<KvExtent> target = ExtentsOf(to_, kThere);
    for (size_t i = 0; i < source.size(); ++i) {
      std::memcpy(to_.base() + target[i].offset, from_.base() + source[i].offset, source[i].bytes);
    }
  }

  const ModelConfig config_;
  const std::vector<int> layers_;
  Pool from_;
  Pool to_;
};

TEST_P(SimRowsTest, TheOtherPoolRepeatsThePrompt) {
  const std::vector<int32_t> prompt = PromptOf(GetParam());
  SimRows writer = RowsOf(from_, kHere);
  // In chunks of 50.
  for (size_t i = 0; i < prompt.size(); i += 50) {
    writer.Append(static_cast<int64_t>(i), absl::MakeConstSpan(prompt).subspan(i, 50));
  }
  ASSERT_TRUE(writer.Holds(GetParam()));
  EXPECT_EQ(writer.Next({}, -1), prompt[0]);
  HandOver();
  SimRows reader = RowsOf(to_, kThere);
  ASSERT_TRUE(reader.Holds(GetParam()));
  for (size_t i = 1; i <= prompt.size(); ++i) {
    EXPECT_TRUE(reader.Holds(GetParam() + static_cast<int64_t>(i)));
    EXPECT_EQ(reader.Next({}, -1), prompt[i % prompt.size()]) << i;
  }
}

TEST_P(SimRowsTest, WrongRowsHoldNothing) {
  const std::vector<int32_t> prompt = PromptOf(GetParam());
  RowsOf(from_, kHere).Append(0, prompt);
  EXPECT_FALSE(RowsOf(to_, kThere).Holds(GetParam())) << "never handed over";
  HandOver();
  EXPECT_FALSE(RowsOf(to_, kThere).Holds(GetParam() - 1)) << "before the prompt's end";
  const Place wrong_slot{.slot = 2, .pages = kThere.pages};
  EXPECT_FALSE(RowsOf(to_, wrong_slot).Holds(GetParam()));
  const Place no_room{.slot = 3, .pages = {}};
  EXPECT_FALSE(RowsOf(to_, no_room).Holds(GetParam()));
  if (GetParam() >= 4 * static_cast<int>(layers_.size())) {
    // The prompt has rows in the first page.
    const Place wrong_page{.slot = 3, .pages = {5, 1, 4}};
    EXPECT_FALSE(RowsOf(to_, wrong_page).Holds(GetParam()));
    EXPECT_FALSE(RowsOf(to_, kThere).Holds(GetParam())) << "once lost, lost";
  }
}

TEST_P(SimRowsTest, AnExtentWithIdsThatDoesNotArriveShows) {
  RowsOf(from_, kHere).Append(0, PromptOf(GetParam()));
  int found = 0;
  for (const KvExtent& extent : ExtentsOf(to_, kThere)) {
    HandOver();
    std::memset(to_.base() + extent.offset, 0xFF, extent.bytes);
    found += static_cast<int>(!RowsOf(to_, kThere).Holds(GetParam()));
  }
  // Two pages of every layer and the header.
  const int least = GetParam() < 512 ? 1 : 2 * static_cast<int>(layers_.size()) + 1;
  EXPECT_GE(found, least);
}

INSTANTIATE_TEST_SUITE_P(Lengths, SimRowsTest,
                         ::testing::Values(1, 2, 3, 4, 5, 63, 64, 65, 127, 128, 129, 130, 255, 256,
                                           257, 300, 511, 512, 515),
                         [](const auto& info) { return "n" + std::to_string(info.param); });

TEST(SimRowsPromptTest, ANewPromptAndAGapBeginAnew) {
  const ModelConfig config = TinyConfig();
  const std::vector<int> layers = SimRows::Layers(config);
  Pool pool(config, {.pages = 3, .slots = 1});
  SimRows rows(
      {.kv = pool.view(), .place = {.slot = kHere.slot, .pages = kHere.pages}, .layers = layers});
  rows.Append(0, {10, 11, 12});
  rows.Append(0, {20, 21});
  ASSERT_TRUE(rows.Holds(2));
  EXPECT_EQ(rows.Next({20}, -1), 21) << "20 is silent";
  EXPECT_EQ(rows.Next({20, 21}, -1), -1);
  rows.Append(3, {22});
  EXPECT_FALSE(rows.Holds(3)) << "position 2 was never written";
}

}  // namespace
}  // namespace tandem
