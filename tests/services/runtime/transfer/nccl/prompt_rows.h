// SPDX-License-Identifier: Apache-2.0
// A prompt of V4-Flash in made-up rows, and where it lies on either side of a hand-off: what the
// two processes of this test agree on.
#pragma once

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "services/runtime/kv/kv_layout.h"

namespace tandem {

inline constexpr int kTokens = 8192;
inline constexpr int kChunk = 4096;

inline KvLayout FlashLayout(KvLayout::Size size) {
  const auto config = ModelConfig::FromFolder(TANDEM_SOURCE_DIR "/deploy/models/v4-flash");
  return KvLayout::Create(config.value(), size).value();
}
inline KvLayout StagingLayout() {
  return FlashLayout({.pages = 64, .slots = 2});
}
inline KvLayout DecodeLayout() {
  return FlashLayout({.pages = 128, .slots = 4});
}

// All of the staging pool.
inline std::string MakeRows() {
  std::mt19937_64 random(1);
  std::string bytes(StagingLayout().bytes(), '\0');
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    const uint64_t word = random();
    std::copy_n(reinterpret_cast<const char*>(&word), 8, &bytes[i]);
  }
  return bytes;
}

struct Place {
  int slot = 0;
  std::vector<int> pages;
  KvPlacement at() const { return {.slot = slot, .pages = pages}; }
};
inline Place Staged() {
  Place place{.slot = 1, .pages = std::vector<int>(kTokens / kPageTokens)};
  std::iota(place.pages.begin(), place.pages.end(), 5);
  return place;
}
// Scattered: no two pages are neighbours on both sides.
inline Place Granted(bool scattered) {
  Place place{.slot = scattered ? 2 : 3, .pages = std::vector<int>(kTokens / kPageTokens)};
  std::iota(place.pages.begin(), place.pages.end(), 40);
  if (scattered) std::reverse(place.pages.begin(), place.pages.end());
  return place;
}

// What goes while the last chunk is computed, and what is left.
inline KvPart Ahead() {
  return {.tokens = kTokens - kChunk, .states = false};
}
inline KvPart Rest() {
  return {.tokens = kTokens, .first_page = (kTokens - kChunk) / kPageTokens};
}

}  // namespace tandem
