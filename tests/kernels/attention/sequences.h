// SPDX-License-Identifier: Apache-2.0
// A batch that owns its arrays: sequences of (slot, first position, tokens, pages).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/common/batch.h"

namespace tandem::kernels {

struct Sequence {
  int32_t slot;
  int32_t first;
  int32_t tokens;
  std::vector<int32_t> pages;
};

class Sequences {
 public:
  explicit Sequences(const std::vector<Sequence>& list) : begin_{0} {
    size_t width = 1;
    for (const Sequence& s : list) width = std::max(width, s.pages.size());
    for (const Sequence& s : list) {
      for (int32_t i = 0; i < s.tokens; ++i) {
        positions_.push_back(s.first + i);
        sequence_.push_back(static_cast<int32_t>(slot_.size()));
      }
      slot_.push_back(s.slot);
      begin_.push_back(static_cast<int32_t>(positions_.size()));
      for (size_t i = 0; i < width; ++i) pages_.push_back(i < s.pages.size() ? s.pages[i] : -1);
    }
    const auto t = static_cast<int64_t>(positions_.size()), n = static_cast<int64_t>(slot_.size());
    batch = {.positions = {positions_.data(), {t}},
             .sequence = {sequence_.data(), {t}},
             .begin = {begin_.data(), {n + 1}},
             .slot = {slot_.data(), {n}},
             .pages = {pages_.data(), {n, static_cast<int64_t>(width)}}};
  }
  Sequences(const Sequences&) = delete;
  Sequences& operator=(const Sequences&) = delete;

  Batch batch;

 private:
  std::vector<int32_t> positions_, sequence_, begin_, slot_, pages_;
};

}  // namespace tandem::kernels
