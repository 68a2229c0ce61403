// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/attention/window_index.h"

namespace tandem::kernels {
namespace cpu {

void WindowIndex(const WindowIndexArgs& args, Stream& /*stream*/) {
  CheckWindowIndex(args);
  const Batch& batch = args.batch;
  for (int64_t t = 0; t < batch.tokens(); ++t) {
    const int32_t s = batch.sequence[t], first = batch.begin[s];
    const int32_t p = batch.positions[t], p0 = batch.positions[first];
    const int32_t oldest = std::max(0, p - (kWindow - 1));
    KERNEL_CHECK_EQ(p - p0, t - first);
    int64_t n = 0;
    for (int32_t j = oldest; j < p0; ++j, ++n) {
      KERNEL_CHECK_LE(n + 1, args.ring.shape[1]);
      args.ring.row(t)[n] = batch.slot[s] * kWindow + j % kWindow;
    }
    std::fill(args.ring.row(t) + n, args.ring.row(t + 1), -1);
    n = 0;
    for (int32_t j = std::max(p0, oldest); j <= p; ++j, ++n) {
      KERNEL_CHECK_LE(n + 1, args.chunk.shape[1]);
      args.chunk.row(t)[n] = first + (j - p0);
    }
    std::fill(args.chunk.row(t) + n, args.chunk.row(t + 1), -1);
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
