// SPDX-License-Identifier: Apache-2.0
// compressed_index: all compressed rows that each token of an HCA layer sees.
//
// Math      rows[t,w] = pages[s][w / B]·B + w mod B  for w = 0 .. ⌊(p+1)/ratio⌋ − 1,  B = 256 /
//           ratio
// Shapes    batch of T  →  rows[T,R]      R ≥ the most rows that any token sees
// Layout    row-major int32, flat rows of the layer's compressed pages, ascending in w; −1 fills
//           up.
// Numerics  exact; a list too short for a token is fatal on the CPU.
// Cost      4R bytes a token
// Roofline  T=64, 1M tokens: R=8192 → 2 MB: launch-bound
// Source    reference/deepseek_v4.md 3.7 (last two points)
#pragma once

#include <cstdint>

#include "kernels/common/batch.h"
#include "kernels/common/contract.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct CompressedIndexArgs {
  Batch batch;
  int ratio = 0;                // 4 or 128
  TensorView<int32_t, 2> rows;  // [T, R]
};

inline void CheckCompressedIndex(const CompressedIndexArgs& args) {
  CheckBatch(args.batch);
  KERNEL_CHECK(args.ratio == 4 || args.ratio == 128);
  KERNEL_CHECK_EQ(args.rows.shape[0], args.batch.tokens());
}

namespace cpu {
void CompressedIndex(const CompressedIndexArgs& args, Stream& stream);
}
namespace cuda {
void CompressedIndex(const CompressedIndexArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
