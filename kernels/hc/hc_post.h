// SPDX-License-Identifier: Apache-2.0
// hc_post: fold a sub-layer's output back into the streams (mHC).
//
// Math      X[t,j,d] ← bf( post[t,j]·y[t,d] + Σ_i comb[t,i,j]·X[t,i,d] )      the sum runs over
//           comb's first index
// Shapes    y[T,D]  post[T,M]  comb[T,M,M]  X[T,M,D], in place      M = hc_mult ≤ 8
// Layout    row-major; y and X bf16, post and comb fp32.
// Numerics  fp32: the sum over i ascending from zero, then added to the post term; one rounding.
//           CUDA: the same order, fused multiply-adds.
// Cost      2D(1+2M) bytes, 2·M·(M+1)·D flop a token: memory-bound
// Roofline  D=4096, M=4: T=8192 → 604 MB → 126 µs at 4.8 TB/s; fuse with the next hc_pre
// Source    reference/deepseek_v4.md 3.2 (step 11)
#pragma once

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"
#include "kernels/hc/hc_pre.h"

namespace tandem::kernels {

struct HcPostArgs {
  TensorView<const Bf16, 2> y;      // [T, D]
  TensorView<const float, 2> post;  // [T, M]
  TensorView<const float, 3> comb;  // [T, M, M]
  TensorView<Bf16, 3> streams;      // [T, M, D]
};

inline void CheckHcPost(const HcPostArgs& args) {
  const int64_t streams = args.streams.shape[1];
  KERNEL_CHECK_LE(streams, kMaxStreams);
  KERNEL_CHECK_EQ(args.y.shape[0], args.streams.shape[0]);
  KERNEL_CHECK_EQ(args.y.shape[1], args.streams.shape[2]);
  KERNEL_CHECK_EQ(args.post.shape[0], args.streams.shape[0]);
  KERNEL_CHECK_EQ(args.post.shape[1], streams);
  KERNEL_CHECK_EQ(args.comb.shape[0], args.streams.shape[0]);
  KERNEL_CHECK_EQ(args.comb.row_size(), streams * streams);
}

namespace cpu {
void HcPost(const HcPostArgs& args, Stream& stream);
}
namespace cuda {
void HcPost(const HcPostArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
