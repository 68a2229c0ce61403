// SPDX-License-Identifier: Apache-2.0
// A trial of all ranks' communicators of one kind: does it sum right, and how long does it take.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "services/runtime/parallel/communicator.h"

namespace tandem {

struct CommTrial {
  std::vector<int> devices;                  // rank i's
  std::vector<Communicator*> communicators;  // rank i's
  std::vector<int64_t> tokens;               // of the calls that are tried
  int64_t dim = 0;
  absl::Duration limit;
};

// Seconds of a call inside a graph, for each of `tokens`, the slowest rank's. An error if any rank
// fails, does not come within the limit or has a wrong sum in a call of data of its own
// (trial_pattern.h), two of each size. Runs a thread a rank.
absl::StatusOr<std::vector<double>> TryAllReduce(const CommTrial& trial);

}  // namespace tandem
