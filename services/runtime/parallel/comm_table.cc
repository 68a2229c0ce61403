// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/parallel/comm_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"

namespace tandem {
namespace {

CommKind FasterOf(const CommTiming& timing) {
  const bool nccl = timing.nccl_seconds < timing.peer_seconds * (1 - kNcclMargin);
  return nccl ? CommKind::kNccl : CommKind::kPeer;
}

const char* NameOf(CommKind kind) {
  return kind == CommKind::kPeer ? "peer" : "nccl";
}

}  // namespace

CommTable::CommTable(std::vector<CommTiming> timings) : last_(CommKind::kPeer) {
  CHECK(!timings.empty());
  std::sort(timings.begin(), timings.end(),
            [](const CommTiming& a, const CommTiming& b) { return a.bytes < b.bytes; });
  last_ = FasterOf(timings.back());
  for (size_t i = 0; i + 1 < timings.size(); ++i) {
    const CommKind kind = FasterOf(timings[i]);
    if (kind != FasterOf(timings[i + 1])) steps_.push_back({timings[i].bytes, kind});
  }
}

CommKind CommTable::KindFor(int64_t bytes) const {
  for (const Step& step : steps_) {
    if (bytes <= step.up_to) return step.kind;
  }
  return last_;
}

std::string CommTable::Verdict() const {
  if (steps_.empty()) return absl::StrCat(NameOf(last_), " for every size");
  std::string line;
  for (const Step& step : steps_) {
    absl::StrAppend(&line, NameOf(step.kind), " to ", step.up_to, " bytes, ");
  }
  return absl::StrCat(line, NameOf(last_), " beyond");
}

}  // namespace tandem
