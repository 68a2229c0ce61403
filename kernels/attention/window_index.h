// SPDX-License-Identifier: Apache-2.0
// window_index: which raw rows each token sees, as two lists: in the ring, and among this step's
// own rows.
//
// Math      token t at position p, its sequence's first token of this step at position p0 and
//           token index t0:
//           ring[t]  = slot·128 + (j mod 128)  for j = max(0, p−127) .. p0−1, ascending
//           chunk[t] = t0 + (j − p0)           for j = max(p0, p−127) .. p, ascending
// Shapes    batch of T  →  ring[T,R]  chunk[T,C]      R ≥ 127 (or the most that any token needs),
//           C likewise (≤ 128)
// Layout    row-major int32, flat rows of the ring pages (64 rows a block, two blocks a slot) and
//           of the chunk pages; −1 fills up.
// Numerics  exact; a list too short for a token is fatal on the CPU.
// Cost      4(R+C) bytes a token: launch-bound
// Roofline  T=8192 → 8 MB: 2 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 3.5, 3.8
#pragma once

#include <cstdint>

#include "kernels/common/batch.h"
#include "kernels/common/contract.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct WindowIndexArgs {
  Batch batch;
  TensorView<int32_t, 2> ring;   // [T, R]
  TensorView<int32_t, 2> chunk;  // [T, C]
};

inline void CheckWindowIndex(const WindowIndexArgs& args) {
  CheckBatch(args.batch);
  KERNEL_CHECK_EQ(args.ring.shape[0], args.batch.tokens());
  KERNEL_CHECK_EQ(args.chunk.shape[0], args.batch.tokens());
}

namespace cpu {
void WindowIndex(const WindowIndexArgs& args, Stream& stream);
}
namespace cuda {
void WindowIndex(const WindowIndexArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
