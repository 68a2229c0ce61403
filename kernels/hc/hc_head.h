// SPDX-License-Identifier: Apache-2.0
// hc_head: mix the streams into the vector that the final norm and the LM head read.
//
// Math      m as in hc_pre with fn[M, M·D];  pre[i] = σ(m[i]·scale[0] + base[i]) + eps;  x[d] =
//           bf( Σ_i pre[i]·X[t,i,d] )
// Shapes    X[T,M,D]  fn[M,M·D]  base[M]  scale[1]  →  x[T,D]      M = hc_mult ≤ 8
// Layout    row-major; X and x bf16, the rest fp32.
// Numerics  as hc_pre, on a CUDA device too.
// Cost      2MD + 2D bytes, 2·M·M·D flop a token: memory-bound
// Roofline  D=4096, M=4: T=64 → 3 MB: launch-bound
// Source    reference/deepseek_v4.md 3.2, 3.11
#pragma once

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"
#include "kernels/hc/hc_pre.h"

namespace tandem::kernels {

struct HcHeadArgs {
  TensorView<const Bf16, 3> streams;  // [T, M, D]
  TensorView<const float, 2> fn;      // [M, M·D]
  TensorView<const float, 1> base;    // [M]
  TensorView<const float, 1> scale;   // [1]
  float norm_eps = 0;
  float hc_eps = 0;
  TensorView<Bf16, 2> x;  // [T, D]
};

inline void CheckHcHead(const HcHeadArgs& args) {
  KERNEL_CHECK_LE(args.streams.shape[1], kMaxStreams);
  KERNEL_CHECK_EQ(args.fn.shape[0], args.streams.shape[1]);
  KERNEL_CHECK_EQ(args.fn.shape[1], args.streams.row_size());
  KERNEL_CHECK_EQ(args.base.shape[0], args.fn.shape[0]);
  KERNEL_CHECK_EQ(args.scale.shape[0], 1);
  KERNEL_CHECK_EQ(args.x.shape[0], args.streams.shape[0]);
  KERNEL_CHECK_EQ(args.x.shape[1], args.streams.shape[2]);
}

namespace cpu {
void HcHead(const HcHeadArgs& args, Stream& stream);
}
namespace fast {
void HcHead(const HcHeadArgs& args, Stream& stream);
}
namespace cuda {
void HcHead(const HcHeadArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
