// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/kv/page_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"

namespace tandem {
namespace {

// Ids from high to low, so that the lowest is taken first.
std::vector<int> Descending(int count) {
  std::vector<int> ids(count);
  for (int i = 0; i < count; ++i) ids[i] = count - 1 - i;
  return ids;
}

int Take(std::vector<int>& free, std::vector<bool>& held) {
  const int id = free.back();
  free.pop_back();
  held[id] = true;
  return id;
}

void GiveBack(int id, std::vector<int>& free, std::vector<bool>& held) {
  CHECK(id >= 0 && id < static_cast<int>(held.size()) && held[id]);
  held[id] = false;
  free.push_back(id);
}

}  // namespace

PagePool::PagePool(int pages, int slots)
    : free_pages_(Descending(pages)),
      free_slots_(Descending(slots)),
      page_held_(pages, false),
      slot_held_(slots, false) {}

absl::StatusOr<Allocation> PagePool::Allocate(int pages) {
  if (pages > pages_free()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "KV pages: ", pages, " asked for, ", pages_free(), " of ", pages_total(), " are free"));
  }
  if (free_slots_.empty()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("sequence slots: all ", slots_total(), " are taken"));
  }
  Allocation out{.slot = Take(free_slots_, slot_held_), .pages = {}};
  out.pages.reserve(pages);
  for (int i = 0; i < pages; ++i) out.pages.push_back(Take(free_pages_, page_held_));
  return out;
}

void PagePool::Free(Allocation allocation) {
  GiveBack(allocation.slot, free_slots_, slot_held_);
  // Last page first: the next sequence gets them in ascending order again.
  for (auto page = allocation.pages.rbegin(); page != allocation.pages.rend(); ++page) {
    GiveBack(*page, free_pages_, page_held_);
  }
}

}  // namespace tandem
