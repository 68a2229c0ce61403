// SPDX-License-Identifier: Apache-2.0
// How the streaming product (stream.cuh) is cut into warps and blocks.
//
// Pure. Internal to kernels/gemm.
#pragma once

#include <cstdint>

namespace tandem::kernels::cuda {

inline constexpr int64_t kStreamTokens = 64;  // the most of one launch

struct StreamPlan {
  int split = 1;      // parts of K, each summed from zero by a warp
  int row_warps = 1;  // warps of a block side by side along N; it has split·row_warps
};

// For a weight of `row_tiles` tiles of 16 rows and `steps` steps of K: one block of up to 16 warps
// a multiprocessor, which measured best on H100. What rows leave of the 16 warps goes to K, but a
// warp keeps at least two steps, so that one is always on its way.
constexpr StreamPlan PlanStream(int64_t row_tiles, int64_t steps, int processors) {
  constexpr int kWarps = 16;
  StreamPlan plan;
  while (plan.row_warps < kWarps && int64_t{plan.row_warps} * processors < row_tiles) {
    plan.row_warps *= 2;
  }
  while (plan.row_warps * plan.split < kWarps && 4 * plan.split <= steps) plan.split *= 2;
  return plan;
}

}  // namespace tandem::kernels::cuda
