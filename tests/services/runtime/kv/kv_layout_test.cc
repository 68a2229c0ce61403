// SPDX-License-Identifier: Apache-2.0
// Goal: regions never overlap, sizes are the specification's, and extents depend on the number of
// tokens alone. Method: byte accounting of specification 4.7 and 5 for Flash; exhaustive overlap
// checks on a small model.
#include "services/runtime/kv/kv_layout.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

ModelConfig ConfigOf(std::vector<int> ratios) {
  ModelConfig config;
  config.num_hidden_layers = static_cast<int>(ratios.size());
  config.compress_ratios = std::move(ratios);
  config.rope_theta = 10000;
  config.compress_rope_theta = 160000;
  return config;
}

ModelConfig Flash() {
  std::vector<int> ratios = {0, 0};
  for (int i = 2; i < 43; ++i) ratios.push_back(i % 2 == 0 ? 4 : 128);
  return ConfigOf(ratios);
}

KvLayout Make(const ModelConfig& config, KvLayout::Size size) {
  auto layout = KvLayout::Create(config, size);
  EXPECT_TRUE(layout.ok()) << layout.status();
  return *std::move(layout);
}

uint64_t Sum(const std::vector<KvExtent>& extents) {
  uint64_t bytes = 0;
  for (const KvExtent& e : extents) bytes += e.bytes;
  return bytes;
}

std::vector<int32_t> Iota(int count, int first) {
  std::vector<int32_t> pages(count);
  std::iota(pages.begin(), pages.end(), first);
  return pages;
}

TEST(KvLayoutTest, PagesAndSlotsCostWhatTheSpecificationSays) {
  const KvLayout layout = Make(Flash(), {.pages = 10, .slots = 2});
  EXPECT_EQ(layout.page_bytes(), 21u * 37440 + 21u * 4352 + 20u * 1728);
  EXPECT_EQ(layout.slot_bytes(), 43u * 2 * 37440 + 1376256 + 344064 + 10485760);
  EXPECT_GE(layout.bytes(), 10 * layout.page_bytes() + 2 * layout.slot_bytes());
}

TEST(KvLayoutTest, ExtentsOfFlashCarryTheBytesOfSpecification5) {
  const KvLayout layout = Make(Flash(), {.pages = 17, .slots = 1});
  const std::vector<int32_t> pages = Iota(17, 0);
  // The table counts 584 bytes a row; a page of the format has no other live bytes.
  EXPECT_EQ(Sum(layout.Extents({.slot = 0, .pages = pages}, 4096)), 18038784u);
  const uint64_t partial = 20u * 127 * 4096 + 21u * 3 * 10240;
  const uint64_t rows = 18038784u + 31u * 21 * (584 + 68);  // 31 more CSA and indexer rows
  EXPECT_EQ(Sum(layout.Extents({.slot = 0, .pages = pages}, 4096 + 127)), rows + partial);
}

TEST(KvLayoutTest, PoolsBeyondFourGibibytesHaveExactOffsets) {
  const KvLayout layout = Make(Flash(), {.pages = 200'000, .slots = 4});
  const KvRegion& last = layout.layer(42).compressed_pages;
  EXPECT_EQ(last.At(199'999) - last.At(0), uint64_t{199'999} * 37440);
  EXPECT_GT(layout.bytes(), uint64_t{200'000} * layout.page_bytes());
}

TEST(KvLayoutTest, NoTwoPiecesOverlapAndAllLieInThePool) {
  const KvLayout layout = Make(ConfigOf({0, 4, 128, 4}), {.pages = 3, .slots = 2});
  std::vector<std::pair<uint64_t, uint64_t>> pieces;
  for (int i = 0; i < layout.num_layers(); ++i) {
    const KvLayerLayout& l = layout.layer(i);
    for (const KvRegion& r : {l.compressed_pages, l.indexer_pages, l.window_rings,
                              l.compressor_states, l.indexer_states}) {
      EXPECT_EQ(r.offset % 256, 0u);
      for (int k = 0; k < r.count; ++k) pieces.emplace_back(r.At(k), r.At(k) + r.stride);
    }
  }
  std::sort(pieces.begin(), pieces.end());
  for (size_t i = 1; i < pieces.size(); ++i) EXPECT_LE(pieces[i - 1].second, pieces[i].first);
  EXPECT_LE(pieces.back().second, layout.bytes());
}

TEST(KvLayoutTest, ExtentsDependOnTokensAloneAndNeverOverlap) {
  const KvLayout layout = Make(ConfigOf({0, 4, 128, 4}), {.pages = 12, .slots = 3});
  const std::vector<int32_t> here = {0, 1, 2, 3}, there = {11, 2, 7, 5};
  for (int64_t tokens = 0; tokens <= 1024; ++tokens) {
    const auto a = layout.Extents({.slot = 0, .pages = here}, tokens);
    auto b = layout.Extents({.slot = 2, .pages = there}, tokens);
    ASSERT_EQ(a.size(), b.size()) << tokens;
    for (size_t i = 0; i < a.size(); ++i) ASSERT_EQ(a[i].bytes, b[i].bytes) << tokens;
    std::sort(b.begin(), b.end(), [](const auto& x, const auto& y) { return x.offset < y.offset; });
    for (size_t i = 1; i < b.size(); ++i)
      ASSERT_LE(b[i - 1].offset + b[i - 1].bytes, b[i].offset) << tokens;
    for (const KvExtent& e : b) ASSERT_GT(e.bytes, 0u) << tokens;
  }
}

TEST(KvLayoutTest, PagesAndTheRestTogetherAreTheWhole) {
  const KvLayout layout = Make(ConfigOf({0, 4, 128}), {.pages = 4, .slots = 1});
  const std::vector<int32_t> pages = Iota(4, 0);
  const KvPlacement place{.slot = 0, .pages = pages};
  const auto offsets = [](const std::vector<KvExtent>& extents) {
    std::set<std::pair<uint64_t, uint64_t>> out;
    for (const KvExtent& e : extents) out.insert({e.offset, e.bytes});
    return out;
  };
  auto parts = offsets(layout.Extents(place, {.tokens = 256, .states = false}));
  parts.merge(offsets(layout.Extents(place, {.tokens = 512, .first_page = 1, .states = false})));
  EXPECT_EQ(parts.size(), 2u * 3);  // two pages of CSA rows, of index rows, of HCA rows
  parts.merge(offsets(layout.Extents(place, {.tokens = 700, .first_page = 2})));
  EXPECT_EQ(parts, offsets(layout.Extents(place, 700)));
}

TEST(KvLayoutTest, GroupsOfLayersOneAfterAnotherAreTheWhole) {
  const KvLayout layout = Make(ConfigOf({0, 4, 128, 4, 128}), {.pages = 4, .slots = 2});
  const std::vector<int32_t> pages = {3, 0, 1, 2};
  const KvPlacement place{.slot = 1, .pages = pages};
  for (const int64_t tokens : {1, 130, 512, 701, 1023}) {
    for (const int first_page : {0, 2}) {
      for (const bool states : {false, true}) {
        KvPart part{.tokens = tokens, .first_page = first_page, .states = states};
        const std::vector<KvExtent> whole = layout.Extents(place, part);
        std::vector<KvExtent> groups;
        for (const KvLayers layers : {KvLayers{0, 1}, KvLayers{1, 3}, KvLayers{.begin = 3}}) {
          part.layers = layers;
          const std::vector<KvExtent> group = layout.Extents(place, part);
          groups.insert(groups.end(), group.begin(), group.end());
          // Between the layers before it and those behind it.
          for (const KvExtent& extent : group) {
            EXPECT_GE(extent.offset, layout.layer(layers.begin).compressed_pages.offset);
            if (layers.end < layout.num_layers()) {
              EXPECT_LE(extent.offset + extent.bytes,
                        layout.layer(layers.end).compressed_pages.offset);
            }
          }
        }
        ASSERT_EQ(groups.size(), whole.size()) << tokens << " " << first_page << states;
        for (size_t i = 0; i < whole.size(); ++i) {
          EXPECT_EQ(groups[i].offset, whole[i].offset) << tokens;
          EXPECT_EQ(groups[i].bytes, whole[i].bytes) << tokens;
        }
      }
    }
  }
}

TEST(KvLayoutTest, RunsAreTheBytesInOrderAndNeighboursAreOne) {
  const std::vector<KvExtent> extents = {{100, 10}, {110, 20}, {200, 30}, {150, 50}, {230, 5}};
  KvCursor at;
  const auto offsets = [&](uint64_t bytes) {
    std::vector<std::pair<uint64_t, uint64_t>> out;
    for (const KvExtent& run : TakeRuns(extents, bytes, at))
      out.emplace_back(run.offset, run.bytes);
    return out;
  };
  using Runs = std::vector<std::pair<uint64_t, uint64_t>>;
  EXPECT_EQ(offsets(0), Runs());
  EXPECT_EQ(offsets(4), (Runs{{100, 4}}));
  EXPECT_EQ(offsets(30), (Runs{{104, 26}, {200, 4}}))
      << "two extents touch, and the third is split";
  EXPECT_EQ(at.extent, 2u);
  EXPECT_EQ(at.offset, 4u);
  EXPECT_EQ(offsets(26), (Runs{{204, 26}}));
  EXPECT_EQ(at.extent, 3u);
  EXPECT_EQ(at.offset, 0u);
  EXPECT_EQ(offsets(1000), (Runs{{150, 50}, {230, 5}})) << "what is left";
  EXPECT_EQ(offsets(1), Runs());
  // A sequence's pages in a row: each layer's index rows are one run.
  const KvLayout layout = Make(ConfigOf({4}), {.pages = 9, .slots = 1});
  const std::vector<int32_t> pages = Iota(8, 1);
  const auto apart = layout.Extents({.slot = 0, .pages = pages}, {.tokens = 2048, .states = false});
  at = {};
  EXPECT_EQ(apart.size(), 2u * 8);
  EXPECT_EQ(TakeRuns(apart, layout.bytes(), at).size(), 8u + 1);
}

TEST(KvLayoutTest, TheHashTellsModelsApartButNotPoolSizes) {
  const ModelConfig config = ConfigOf({0, 4, 128});
  const uint64_t hash = Make(config, {.pages = 4, .slots = 1}).layout_hash();
  EXPECT_EQ(hash, Make(config, {.pages = 999, .slots = 64}).layout_hash());
  EXPECT_NE(hash, Make(ConfigOf({0, 128, 4}), {.pages = 4, .slots = 1}).layout_hash());
  ModelConfig other = config;
  other.compress_rope_theta = 40000;
  EXPECT_NE(hash, Make(other, {.pages = 4, .slots = 1}).layout_hash());
  other = config;
  other.rope_scaling.factor = 8;
  EXPECT_NE(hash, Make(other, {.pages = 4, .slots = 1}).layout_hash());
}

TEST(KvLayoutTest, TheHashIsTheSameInEveryBuild) {
  const KvLayout layout = Make(ConfigOf({0, 4, 128}), {.pages = 4, .slots = 1});
  EXPECT_THAT(layout.Describe(), HasSubstr("layers=SCH"));
  // A change here is a new wire format: raise the version in Describe().
  EXPECT_EQ(layout.layout_hash(), 10320774374757531603u) << layout.Describe();
}

TEST(KvLayoutTest, RefusesPoolsOutOfRange) {
  const auto error = [](KvLayout::Size size) {
    return std::string(KvLayout::Create(Flash(), size).status().message());
  };
  EXPECT_EQ(error({.pages = 0, .slots = 1}), "kv pool: pages must be from 1 to 16777216, got 0");
  EXPECT_EQ(error({.pages = 1, .slots = -3}), "kv pool: slots must be from 1 to 65536, got -3");
  EXPECT_THAT(error({.pages = 1 << 25, .slots = 1}), HasSubstr("pages must be"));
}

}  // namespace
}  // namespace tandem
