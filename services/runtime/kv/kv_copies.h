// SPDX-License-Identifier: Apache-2.0
// KvCopies: what to copy from a sequence's place in one pool to its place in another, in as few
// pieces as there are. Pure functions.
//
// Pages that follow each other in both pools are copied in one piece, with the padding between
// their rows: nobody else's bytes lie in a gap that is smaller than the smallest page.
#pragma once

#include <cstdint>
#include <vector>

#include "services/runtime/kv/kv_layout.h"

namespace tandem {

// Offsets from the bases of the two pools.
struct KvCopy {
  uint64_t from = 0;
  uint64_t to = 0;
  uint64_t bytes = 0;
};

// The layouts describe the same bytes (KvLayout::layout_hash) and are borrowed.
struct KvRoute {
  const KvLayout* from = nullptr;
  KvPlacement from_place;
  const KvLayout* to = nullptr;
  KvPlacement to_place;
};

std::vector<KvCopy> CopiesOf(const KvRoute& route, const KvPart& part);

}  // namespace tandem
