// SPDX-License-Identifier: Apache-2.0
// A rank's queue: waited for without ever hanging, and timed inside a graph, where a step runs.
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/common/stream.h"

namespace tandem {

// Polls until all that `stream` holds has run, for a decode step's time without sleep; asks
// `failed` between polls, whose error ends the wait. DEADLINE_EXCEEDED after `limit`, INTERNAL for
// the stream's or the device's own error.
absl::Status WaitForQueue(kernels::Stream& stream, absl::Duration limit,
                          const std::function<absl::Status()>& failed);

struct RankTimer {
  // Waits for the queue, with the communicator's eye on the other ranks.
  std::function<absl::Status(kernels::Stream&)> wait;
  int runs = 20;  // captured one after the other
  int replays = 5;
};

// Seconds of one `queue_run` on the stream, the median of the replays. All ranks of an operation
// that waits for its peers call it at once, each in its thread with its device current; the first
// replay, in which a rank waits for the slowest to begin, is not counted.
absl::StatusOr<double> SecondsOfRun(const RankTimer& timer,
                                    const std::function<void(kernels::Stream&)>& queue_run,
                                    kernels::Stream& stream);

}  // namespace tandem
