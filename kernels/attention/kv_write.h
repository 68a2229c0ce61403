// SPDX-License-Identifier: Apache-2.0
// kv_write: this step's KV vectors into 584-byte rows.
//
// Math      row[index[t]] = ( e4m3 of kv[t,0:448] in tiles of 64 with their 2^e, kv[t,448:512] )
// Shapes    kv[T,512]  index[T]  →  rows
// Layout    kv bf16, normed and rotated; split pages of common/paged_rows.h; index −1: nothing is
//           written.
// Numerics  exact: the formula of act_quant with groups of 64; bytes are the format's.
// Cost      1,024 + 584 bytes a token: memory-bound
// Roofline  T=8192 → 13 MB → 3 µs at 4.8 TB/s: launch-bound; fuse with kv_norm and rope
// Source    reference/deepseek_v4.md 4.3, 4.6
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct KvWriteArgs {
  TensorView<const Bf16, 2> kv;        // [T, 512]
  TensorView<const int32_t, 1> index;  // [T] flat rows, distinct or -1
  KvPages rows;
};

inline void CheckKvWrite(const KvWriteArgs& args) {
  KERNEL_CHECK_EQ(args.kv.shape[1], kHeadDim);
  KERNEL_CHECK_EQ(args.index.shape[0], args.kv.shape[0]);
}

namespace cpu {
void KvWrite(const KvWriteArgs& args, Stream& stream);
}
namespace cuda {
void KvWrite(const KvWriteArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
