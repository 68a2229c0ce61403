// SPDX-License-Identifier: Apache-2.0
// How the streaming product (stream.cuh) is cut into warps and blocks.
//
// Pure. Internal to kernels/gemm.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tandem::kernels::cuda {

inline constexpr int64_t kStreamTokens = 64;  // the most of one launch

struct StreamPlan {
  int split = 1;        // parts of K, each summed from zero
  int row_warps = 1;    // warps of a block side by side along N
  int split_warps = 1;  // and along K; a warp takes every split_warps-th part
  bool prefetch = true;
};

// Parts of K for a weight of `row_tiles` tiles of 16 rows and `steps` steps of K, whatever T. Enough
// warps that all memory a card can have under way is under way (16 a multiprocessor, 2 KiB each,
// twice what latency times bandwidth wants), but two steps a warp, so that one is always loading.
constexpr int StreamSplit(int64_t row_tiles, int64_t steps, int processors) {
  constexpr int kMostParts = 16;
  const int64_t wanted = int64_t{16} * processors;
  int split = 1;
  while (split < kMostParts && 2 * split * row_tiles <= wanted && 4 * split <= steps) split *= 2;
  return split;
}

}  // namespace tandem::kernels::cuda
