// SPDX-License-Identifier: Apache-2.0
// sparse_attention: every query over its own list of cache rows, with a sink; a row is key and
// value at once.
//
// Math      k_i = the rows that the lists name, in order of the sources and of each list, −1
//           skipped
//           s_i = (q[t,h]·k_i)·scale;  m = max_i s_i;  den = Σ_i e^{s_i−m} + e^{sink[h]−m}
//           out[t,h] = bf( (Σ_i bf(e^{s_i−m})·k_i) / den );  lse[t,h] = m + ln Σ_i e^{s_i−m}
//           (without the sink)
//           no key at all: out = 0, lse = −∞
//           with angles: the last 64 values of out, as bf16, turned back by the query's position
//           (rope.h, inverse)
// Shapes    q[T,H,512]  up to 3 sources with index[T,n]  sink[H]  →  out[T,H,512]  lse[T,H]
//           (optional); cos[T,32]  sin[T,32] (optional)
// Layout    row-major; q, out bf16; the others fp32; rows in split pages (common/paged_rows.h),
//           index int32 flat rows. A source without a base is not there. out may be q.
// Numerics  rows are dequantised exactly; the denominator sums unrounded exponentials. Reference:
//           fp64 sums of products, fp32 scores. Others: scores in fp32 over 16 lanes, sums over
//           keys in list order in fp32. A query's bits depend on its own list alone. CUDA: f16
//           tensor products with fp32 sums, P rounded to bf16 under a maximum that may lag 2^8
//           behind; lists in as many parts as the shapes say, joined in order: bits depend on
//           lists and shapes. P, q and rows are exact as f16 from 2^-15 on, less to 2^-25 of 1;
//           |q|, |rows| < 65,504; scales from 2^-24 (kv_write: 2^-22 and more) to 2^7.
// Cost      584 bytes a key and query, 2,048·H flop a (query, key)
// Roofline  H=64, 640 keys: T=64 → 5.4 GFLOP, 24 MB → 5 µs of bytes at 4.8 TB/s, 6 µs at 990
//           TFLOP/s
// Source    reference/deepseek_v4.md 3.8, DIS-7; pitfall 35
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct KeySource {
  ConstKvPages rows;
  TensorView<const int32_t, 2> index;  // [T, n]; n may be 0
};
inline constexpr int kMaxKeySources = 3;

struct SparseAttentionArgs {
  TensorView<const Bf16, 3> q;        // [T, H, 512]
  KeySource sources[kMaxKeySources];  // ring, chunk, compressed: oldest first
  TensorView<const float, 1> sink;    // [H]
  float scale = 0;                    // 512^-½
  TensorView<Bf16, 3> out;            // [T, H, 512]
  TensorView<float, 2> lse;           // [T, H]; data null: not wanted
  TensorView<const float, 2> cos;     // [T, 32]; data null: out is not turned back
  TensorView<const float, 2> sin;     // [T, 32]
};

inline void CheckSparseAttention(const SparseAttentionArgs& args) {
  KERNEL_CHECK_EQ(args.q.shape[2], kHeadDim);
  for (const KeySource& source : args.sources) {
    if (source.rows.base != nullptr) KERNEL_CHECK_EQ(source.index.shape[0], args.q.shape[0]);
  }
  KERNEL_CHECK_EQ(args.sink.shape[0], args.q.shape[1]);
  for (int i = 0; i < 3; ++i) KERNEL_CHECK_EQ(args.out.shape[i], args.q.shape[i]);
  if (args.lse.data != nullptr) KERNEL_CHECK_EQ(args.lse.size(), args.q.shape[0] * args.q.shape[1]);
  if (args.cos.data == nullptr) return;
  for (const auto* angles : {&args.cos, &args.sin}) {
    KERNEL_CHECK_EQ(angles->shape[0], args.q.shape[0]);
    KERNEL_CHECK_EQ(angles->shape[1], kRopeDim / 2);
  }
}

namespace cpu {
void SparseAttention(const SparseAttentionArgs& args, Stream& stream);
}
namespace fast {
void SparseAttention(const SparseAttentionArgs& args, Stream& stream);
}
namespace cuda {
void SparseAttention(const SparseAttentionArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
