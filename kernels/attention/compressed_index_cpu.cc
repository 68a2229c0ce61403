// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/attention/compressed_index.h"

namespace tandem::kernels {
namespace cpu {

void CompressedIndex(const CompressedIndexArgs& args, Stream& /*stream*/) {
  CheckCompressedIndex(args);
  const Batch& batch = args.batch;
  for (int64_t t = 0; t < batch.tokens(); ++t) {
    const int64_t visible = (batch.positions[t] + 1) / args.ratio;
    KERNEL_CHECK_LE(visible, args.rows.shape[1]);
    KERNEL_CHECK_LE(visible * args.ratio, batch.pages.shape[1] * kPageTokens);
    int32_t* rows = args.rows.row(t);
    for (int64_t w = 0; w < visible; ++w) {
      rows[w] = CompressedRow(batch.pages.row(batch.sequence[t]), w, args.ratio);
    }
    std::fill(rows + visible, args.rows.row(t + 1), -1);
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
