// SPDX-License-Identifier: Apache-2.0
// How the streaming product (stream.cuh) is cut into warps and blocks.
//
// Pure. Internal to kernels/gemm.
#pragma once

#include <cstdint>

namespace tandem::kernels::cuda {

inline constexpr int64_t kStreamTokens = 64;  // the most of one launch
inline constexpr int kStreamWarps = 16;       // the most of a block

struct StreamPlan {
  int split_bits = 0;  // 2^split_bits parts of K, each summed from zero by a warp, added in pairs
  int row_warps = 1;   // warps of a block side by side along N; it has row_warps·2^split_bits
};

// How the wide kernel takes the same parts.
struct WidePlan {
  int split_bits = 0;  // 2^split_bits = teams·slices parts of K
  int teams = 1;       // parts of a block, those of one slice: a pair if there is one
  int slices = 1;
  int part_steps = 1;  // the most steps of a part
};

// For a weight of `row_tiles` tiles of 16 rows and `steps` steps of K: one block of up to 16 warps
// a multiprocessor, which measured best on H100. What rows leave of the 16 warps goes to K, but a
// warp keeps at least two steps, so that one is always on its way.
constexpr StreamPlan PlanStream(int64_t row_tiles, int64_t steps, int processors) {
  StreamPlan plan;
  while (plan.row_warps < kStreamWarps && int64_t{plan.row_warps} * processors < row_tiles) {
    plan.row_warps *= 2;
  }
  while (plan.row_warps << plan.split_bits < kStreamWarps &&
         int64_t{4} << plan.split_bits <= steps) {
    ++plan.split_bits;
  }
  return plan;
}

constexpr WidePlan PlanWide(const StreamPlan& plan, int64_t steps) {
  const int parts = 1 << plan.split_bits, teams = parts > 1 ? 2 : 1;
  return {.split_bits = plan.split_bits,
          .teams = teams,
          .slices = parts / teams,
          .part_steps = static_cast<int>((steps + parts - 1) / parts)};
}

}  // namespace tandem::kernels::cuda
