// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/kv/kv_copies.h"

#include "kernels/common/paged_rows.h"
#include "services/runtime/base/check.h"

namespace tandem {
namespace {

// Padding of the largest page; smaller than the smallest page.
constexpr uint64_t kGapMax = kernels::kKvRowDataBytes;
static_assert(kGapMax < kernels::KvPageBytes(kPageTokens / 128));

// Whether `next` goes on where `copy` ends, behind the same gap on both sides.
bool GoesOn(const KvCopy& copy, const KvCopy& next) {
  const uint64_t end = copy.from + copy.bytes;
  const uint64_t gap = next.from - end;  // huge if it lies before
  return next.from >= end && gap <= kGapMax && copy.to + copy.bytes + gap == next.to;
}

}  // namespace

std::vector<KvCopy> CopiesOf(const KvRoute& route, const KvPart& part) {
  const std::vector<KvExtent> from = route.from->Extents(route.from_place, part);
  const std::vector<KvExtent> to = route.to->Extents(route.to_place, part);
  CHECK_EQ(from.size(), to.size());
  std::vector<KvCopy> out;
  for (size_t i = 0; i < from.size(); ++i) {
    CHECK_EQ(from[i].bytes, to[i].bytes);
    const KvCopy next{.from = from[i].offset, .to = to[i].offset, .bytes = from[i].bytes};
    if (!out.empty() && GoesOn(out.back(), next)) {
      out.back().bytes = next.from + next.bytes - out.back().from;
    } else {
      out.push_back(next);
    }
  }
  return out;
}

}  // namespace tandem
