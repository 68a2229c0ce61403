// SPDX-License-Identifier: Apache-2.0
// How the streaming product (stream.cuh) is cut into warps and blocks.
//
// Pure. Internal to kernels/gemm.
#pragma once

#include <cstdint>

namespace tandem::kernels::cuda {

inline constexpr int64_t kStreamTokens = 64;  // the most of one launch

struct StreamPlan {
  int split = 1;        // parts of K, each summed from zero
  int row_warps = 1;    // warps of a block side by side along N
  int split_warps = 1;  // and along K; of `split` parts in rounds
};

// For a weight of `row_tiles` tiles of 16 rows and `steps` steps of K. One block of up to 16 warps
// a multiprocessor, all alike: two launches then share each multiprocessor, the next one's first
// weights arriving under this one's work. (Blocks of 8, four to a multiprocessor, were slower by a
// seventh on H100: the next launch takes slots as they fall free, unevenly.) What rows leave of the
// 16 warps goes to K, but a warp keeps at least two steps, so that one is always on its way. More
// tokens want more registers: half the warps, which take the parts of K in rounds.
constexpr StreamPlan PlanStream(int64_t row_tiles, int64_t steps, int64_t tokens, int processors) {
  constexpr int kWarps = 16;
  StreamPlan plan;
  while (plan.row_warps < kWarps && int64_t{plan.row_warps} * processors < row_tiles) {
    plan.row_warps *= 2;
  }
  while (plan.row_warps * plan.split < kWarps && 4 * plan.split <= steps) plan.split *= 2;
  const int warps = tokens <= 16 ? kWarps : kWarps / 2;
  plan.split_warps = plan.split < warps ? plan.split : warps;
  if (plan.row_warps * plan.split_warps > warps) plan.row_warps = warps / plan.split_warps;
  return plan;
}

}  // namespace tandem::kernels::cuda
