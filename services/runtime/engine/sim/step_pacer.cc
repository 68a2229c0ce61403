// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/sim/step_pacer.h"

#include <algorithm>

namespace tandem {

absl::Time StepPacer::End(absl::Span<const EngineChunk> chunks, absl::Time now,
                          absl::Duration duration) {
  const bool goes_on = std::any_of(chunks.begin(), chunks.end(), [this](const EngineChunk& chunk) {
    const auto before = next_.find(chunk.slot);
    return chunk.start > 0 && before != next_.end() && before->second == chunk.start;
  });
  next_.clear();
  for (const EngineChunk& chunk : chunks) {
    next_[chunk.slot] = chunk.start + static_cast<int64_t>(chunk.tokens.size());
  }
  end_ = std::max((goes_on ? end_ : now) + duration, now);
  return end_;
}

}  // namespace tandem
