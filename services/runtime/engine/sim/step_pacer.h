// SPDX-License-Identifier: Apache-2.0
// StepPacer: when a simulated step is over. Pure: told the time, reads no clock. Not thread-safe.
//
// A step that goes on with a sequence of the step before was called back to back: it is timed from
// that one's end as planned, so neither late waking nor the caller's work in between adds up, and n
// steps last n durations. Any other is timed from its call. A caller that is too late for that
// waits not at all, and what it lost is not caught up.
#pragma once

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/runtime/engine/engine.h"

namespace tandem {

class StepPacer {
 public:
  // The end of the step of `chunks` that is called at `now` and lasts `duration`.
  absl::Time End(absl::Span<const EngineChunk> chunks, absl::Time now, absl::Duration duration);

 private:
  absl::flat_hash_map<int, int64_t> next_;  // slot → next position, of the step before
  absl::Time end_ = absl::InfinitePast();
};

}  // namespace tandem
