// SPDX-License-Identifier: Apache-2.0
// window_commit: the last 128 of a step's rows into their sequence's ring, after attention has read
// both.
//
// Math      ring[ slot·128 + (p mod 128) ] ← chunk[t]  for the last min(n, 128) tokens of each
//           sequence
// Shapes    batch of T; chunk rows ≥ T; ring of all slots
// Layout    both in blocks of 64 split rows (common/paged_rows.h); token t's row is chunk row t.
// Numerics  a copy of 584 bytes.
// Cost      1,168 bytes a token
// Roofline  T=64 → 75 KB: launch-bound; fuse with the next layer's kv_write
// Source    reference/deepseek_v4.md 3.5
#pragma once

#include "kernels/common/batch.h"
#include "kernels/common/contract.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct WindowCommitArgs {
  Batch batch;
  ConstKvPages chunk;
  KvPages ring;  // two blocks a slot
};

inline void CheckWindowCommit(const WindowCommitArgs& args) {
  CheckBatch(args.batch);
  KERNEL_CHECK_EQ(args.chunk.rows_per_page, kBlockRows);
  KERNEL_CHECK_EQ(args.ring.rows_per_page, kBlockRows);
  KERNEL_CHECK_GE(args.chunk.rows(), args.batch.tokens());
}

namespace cpu {
void WindowCommit(const WindowCommitArgs& args, Stream& stream);
}
namespace cuda {
void WindowCommit(const WindowCommitArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
