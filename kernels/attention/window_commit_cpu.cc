// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/attention/window_commit.h"

namespace tandem::kernels {
namespace cpu {

void WindowCommit(const WindowCommitArgs& args, Stream& /*stream*/) {
  CheckWindowCommit(args);
  const Batch& batch = args.batch;
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int32_t end = batch.begin[s + 1];
    for (int32_t t = std::max(batch.begin[s], end - kWindow); t < end; ++t) {
      const int64_t row = int64_t{batch.slot[s]} * kWindow + batch.positions[t] % kWindow;
      KERNEL_CHECK_LE(row, args.ring.rows() - 1);
      std::copy_n(args.chunk.data_of(t), kKvRowDataBytes, args.ring.data_of(row));
      std::copy_n(args.chunk.scales_of(t), kKvRowScaleBytes, args.ring.scales_of(row));
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
