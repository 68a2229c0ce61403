// SPDX-License-Identifier: Apache-2.0
// PagePool: which pages and sequence slots are free. It knows ids only: no bytes, no leases, no
// sequences. Not thread-safe: one loop owns it. A page stands for 256 tokens in every layer (design
// section 4).
#pragma once

#include <vector>

#include "absl/status/statusor.h"

namespace tandem {

// Memory of one sequence. Move it along with whoever holds the memory; give it back with Free.
struct Allocation {
  int slot = -1;
  std::vector<int> pages;  // in the order of the sequence
};

class PagePool {
 public:
  PagePool(int pages, int slots);

  // RESOURCE_EXHAUSTED, naming what is short, if `pages` pages and one slot are not free; nothing
  // is taken then.
  absl::StatusOr<Allocation> Allocate(int pages);

  // CHECKs that every id was held.
  void Free(Allocation allocation);

  int pages_free() const { return static_cast<int>(free_pages_.size()); }
  int slots_free() const { return static_cast<int>(free_slots_.size()); }
  int pages_total() const { return static_cast<int>(page_held_.size()); }
  int slots_total() const { return static_cast<int>(slot_held_.size()); }

 private:
  std::vector<int> free_pages_;  // taken from the back
  std::vector<int> free_slots_;
  std::vector<bool> page_held_;  // [pages_total]
  std::vector<bool> slot_held_;  // [slots_total]
};

}  // namespace tandem
