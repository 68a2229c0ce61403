// SPDX-License-Identifier: Apache-2.0
// Goal: a sequence that is copied from one pool to another is whole there, nothing of others is
// touched, and neighbouring pages travel in one piece. Method: pools of random bytes, compared
// extent by extent.
#include "services/runtime/kv/kv_copies.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <string>

#include "gtest/gtest.h"

namespace tandem {
namespace {

KvLayout Make(KvLayout::Size size) {
  ModelConfig config;
  config.num_hidden_layers = 4;
  config.compress_ratios = {0, 4, 128, 4};
  return KvLayout::Create(config, size).value();
}

std::string RandomBytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::string out(count, '\0');
  for (char& byte : out) byte = static_cast<char>(random());
  return out;
}

struct Pools {
  KvLayout from = Make({.pages = 9, .slots = 2});
  KvLayout to = Make({.pages = 40, .slots = 5});
  std::string source = RandomBytes(from.bytes(), 1);
  std::string target = RandomBytes(to.bytes(), 2);

  void Run(const std::vector<KvCopy>& copies) {
    for (const KvCopy& copy : copies) {
      ASSERT_LE(copy.from + copy.bytes, source.size());
      ASSERT_LE(copy.to + copy.bytes, target.size());
      std::memcpy(target.data() + copy.to, source.data() + copy.from, copy.bytes);
    }
  }
};

// Bytes of the target that may change: pages and slot of the sequence, padding included.
std::vector<bool> OwnBytes(const KvLayout& layout, const KvPlacement& place) {
  std::vector<bool> own(layout.bytes());
  const auto mark = [&own](const KvRegion& region, int index) {
    if (region.count == 0) return;
    for (uint64_t i = 0; i < region.stride; ++i) own[region.At(index) + i] = true;
  };
  for (int l = 0; l < layout.num_layers(); ++l) {
    const KvLayerLayout& at = layout.layer(l);
    for (const int32_t page : place.pages) mark(at.compressed_pages, page);
    for (const int32_t page : place.pages) mark(at.indexer_pages, page);
    mark(at.window_rings, place.slot);
    mark(at.compressor_states, place.slot);
    mark(at.indexer_states, place.slot);
  }
  return own;
}

TEST(KvCopiesTest, TheSequenceArrivesAndNothingElseChanges) {
  const std::vector<int32_t> here = {1, 2, 3, 8}, there = {30, 31, 32, 7};
  for (const int64_t tokens : {1, 130, 257, 700, 1024}) {
    Pools pools;
    const KvRoute route{.from = &pools.from,
                        .from_place = {.slot = 1, .pages = here},
                        .to = &pools.to,
                        .to_place = {.slot = 3, .pages = there}};
    const std::string before = pools.target;
    const int sent = static_cast<int>(tokens / kPageTokens) / 2;  // some pages ahead of the rest
    pools.Run(CopiesOf(route, {.tokens = int64_t{sent} * kPageTokens, .states = false}));
    pools.Run(CopiesOf(route, {.tokens = tokens, .first_page = sent}));
    const auto from = pools.from.Extents(route.from_place, tokens);
    const auto to = pools.to.Extents(route.to_place, tokens);
    for (size_t i = 0; i < from.size(); ++i) {
      EXPECT_EQ(std::memcmp(pools.source.data() + from[i].offset,
                            pools.target.data() + to[i].offset, from[i].bytes),
                0)
          << tokens << " tokens, extent " << i;
    }
    const std::vector<bool> own = OwnBytes(pools.to, route.to_place);
    for (size_t i = 0; i < own.size(); ++i) {
      ASSERT_TRUE(own[i] || pools.target[i] == before[i]) << tokens << " tokens, byte " << i;
    }
  }
}

TEST(KvCopiesTest, LayerByLayerIsTheSameToTheByte) {
  const std::vector<int32_t> here = {1, 2, 3, 8}, there = {30, 31, 32, 7};
  for (const int64_t tokens : {1, 130, 700, 1024}) {
    Pools at_once, by_layers;
    const KvRoute route{.from = &at_once.from,
                        .from_place = {.slot = 1, .pages = here},
                        .to = &at_once.to,
                        .to_place = {.slot = 3, .pages = there}};
    const auto bytes_of = [](const std::vector<KvCopy>& copies) {
      uint64_t bytes = 0;
      for (const KvCopy& copy : copies) bytes += copy.bytes;
      return bytes;
    };
    const std::vector<KvCopy> whole = CopiesOf(route, {.tokens = tokens});
    at_once.Run(whole);
    uint64_t bytes = 0;
    for (int layer = 0; layer < at_once.from.num_layers(); ++layer) {
      const std::vector<KvCopy> copies =
          CopiesOf(route, {.tokens = tokens, .layers = {layer, layer + 1}});
      by_layers.Run(copies);
      bytes += bytes_of(copies);
    }
    EXPECT_EQ(bytes, bytes_of(whole)) << tokens;
    EXPECT_TRUE(by_layers.target == at_once.target) << tokens;
  }
}

TEST(KvCopiesTest, NeighbouringPagesAreOnePiece) {
  const KvLayout from = Make({.pages = 8, .slots = 1}), to = Make({.pages = 64, .slots = 1});
  std::vector<int32_t> here(8), there(8);
  std::iota(here.begin(), here.end(), 0);
  std::iota(there.begin(), there.end(), 50);
  const KvPart pages{.tokens = 8 * kPageTokens, .states = false};
  const auto count = [&] {
    return CopiesOf({.from = &from,
                     .from_place = {.slot = 0, .pages = here},
                     .to = &to,
                     .to_place = {.slot = 0, .pages = there}},
                    pages)
        .size();
  };
  EXPECT_EQ(count(), 2u + 1 + 2);  // a run a region: CSA and its index rows twice, HCA once
  std::swap(there[3], there[6]);
  EXPECT_EQ(count(), 5u * 5);  // five runs each
  std::swap(there[3], there[6]);
  std::reverse(here.begin(), here.end());
  EXPECT_EQ(count(), 5u * 8);
}

}  // namespace
}  // namespace tandem
