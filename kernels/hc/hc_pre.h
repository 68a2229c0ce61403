// SPDX-License-Identifier: Apache-2.0
// hc_pre: mix the streams into a sub-layer's input, and find how its output will be mixed back
// (mHC).
//
// Math      f = X[t] as one vector of M·D;  r = 1/√(mean f² + norm_eps);  m[k] = (Σ_j
//           f[j]·fn[k,j])·r
//           pre[i] = σ(m[i]·scale[0] + base[i]) + eps;   post[i] = 2·σ(m[M+i]·scale[1] + base[M+i])
//           C[j,k] = softmax_k( m[2M+M·j+k]·scale[2] + base[2M+M·j+k] ) + eps;  columns: C[j,k] /=
//           Σ_j C[j,k] + eps
//           then iterations−1 times: rows C[j,k] /= Σ_k C[j,k] + eps, columns as before
//           x[d] = bf( Σ_i pre[i]·X[t,i,d] )
// Shapes    X[T,M,D]  fn[(2+M)·M, M·D]  base[(2+M)·M]  scale[3]  →  x[T,D]  post[T,M]  comb[T,M,M]
//               M = hc_mult ≤ 8
// Layout    row-major; X and x bf16, the rest fp32. comb[t,i,j] takes stream i to stream j.
// Numerics  mixes fp32 (never TF32); reference: fp64 sums. Exponentials, divisions and sums of M
//           terms in fp32. Fast: fp32 products in 16 lanes over j, each lane ascending: |error of
//           m/r| ≤ (M·D/16 + 5)·2^-24·Σ|f·fn|. CUDA (M = 4, D a multiple of 32 up to 7,936): fn as
//           the exact sum of three bf16, products by matrix units with fp32 sums in the order of
//           hc_mix.cuh, the same for every T; Sinkhorn as two vectors of scales, eps after the
//           first step as a factor (|error of comb| < 10^-6).
// Cost      2MD + 2D bytes and 2·(2+M)·M·M·D flop a token: compute-bound on fp32 units above T ≈ 16
//           (CUDA: up to there in one launch)
// Roofline  D=4096, M=4: T=64 → 1.6 MB of fn, 50 MFLOP: launch-bound; T=8192 → 6.4 GFLOP → 96 µs at
//           67 TFLOP/s
// Source    reference/deepseek_v4.md 3.2 (steps 1–10), DIS-1
#pragma once

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

inline constexpr int kMaxStreams = 8;

struct HcPreArgs {
  TensorView<const Bf16, 3> streams;  // [T, M, D]
  TensorView<const float, 2> fn;      // [(2+M)·M, M·D]
  TensorView<const float, 1> base;    // [(2+M)·M]
  TensorView<const float, 1> scale;   // [3]
  float norm_eps = 0;
  float hc_eps = 0;
  int iterations = 0;         // hc_sinkhorn_iters
  TensorView<Bf16, 2> x;      // [T, D]
  TensorView<float, 2> post;  // [T, M]
  TensorView<float, 3> comb;  // [T, M, M]
};

inline void CheckHcPre(const HcPreArgs& args) {
  const int64_t streams = args.streams.shape[1];
  KERNEL_CHECK_LE(streams, kMaxStreams);
  KERNEL_CHECK_EQ(args.fn.shape[0], (2 + streams) * streams);
  KERNEL_CHECK_EQ(args.fn.shape[1], args.streams.row_size());
  KERNEL_CHECK_EQ(args.base.shape[0], args.fn.shape[0]);
  KERNEL_CHECK_EQ(args.scale.shape[0], 3);
  KERNEL_CHECK_GE(args.iterations, 1);
  KERNEL_CHECK_EQ(args.x.shape[0], args.streams.shape[0]);
  KERNEL_CHECK_EQ(args.x.shape[1], args.streams.shape[2]);
  KERNEL_CHECK_EQ(args.post.shape[0], args.streams.shape[0]);
  KERNEL_CHECK_EQ(args.post.shape[1], streams);
  KERNEL_CHECK_EQ(args.comb.shape[0], args.streams.shape[0]);
  KERNEL_CHECK_EQ(args.comb.row_size(), streams * streams);
}

namespace cpu {
void HcPre(const HcPreArgs& args, Stream& stream);
}
namespace fast {
void HcPre(const HcPreArgs& args, Stream& stream);
}
namespace cuda {
void HcPre(const HcPreArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
