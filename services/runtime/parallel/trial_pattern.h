// SPDX-License-Identifier: Apache-2.0
// What a trial of an all-reduce sums, and whether the right sum came of it. Pure functions.
//
// Each element of a part depends on its place, its rank, the call's size and its round, so that a
// sum shows what came from another place, another rank or a call before. They are small integers:
// eight of them have an exact sum in bf16, in any order, rounded at every step or once.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/common/dtype.h"

namespace tandem {

struct TrialCall {
  int ranks = 0;  // at most kernels::kMaxPeers
  int64_t tokens = 0;
  int64_t dim = 0;
  int round = 0;  // a number of this call among those of its size
};

// [tokens, dim]
std::vector<kernels::Bf16> TrialPart(const TrialCall& call, int rank);

// DATA_LOSS naming the first wrong element of [tokens, dim].
absl::Status CheckTrialSum(const TrialCall& call, absl::Span<const kernels::Bf16> sum);

}  // namespace tandem
