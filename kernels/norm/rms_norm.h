// SPDX-License-Identifier: Apache-2.0
// rms_norm: scale a vector to unit mean square and weigh it.
//
// Math      y[t,d] = bf( w[d] · ( x[t,d] · r[t] ) ),  r[t] = 1 / sqrt( mean_d x[t,d]² + eps )
// Shapes    x[T,D]  w[D]  →  y[T,D]
// Layout    row-major, D contiguous, all bf16; y may be x.
// Numerics  mean square and r in fp64, r rounded to fp32; products in fp32; one rounding to bf16.
//           CUDA: pairs of fp32 for fp64 (pair_sum.cuh: 2^-44; |x| < 2^63).
// Cost      4D + 2D/T bytes, 4D flop a token: memory-bound
// Roofline  D=4096: T=8192 → 134 MB → 28 µs at 4.8 TB/s; T=64 → launch-bound
// Source    reference/deepseek_v4.md 3.0
#pragma once

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct RmsNormArgs {
  TensorView<const Bf16, 2> x;       // [T, D]
  TensorView<const Bf16, 1> weight;  // [D]
  float eps = 0;
  TensorView<Bf16, 2> y;  // [T, D]
};

inline void CheckRmsNorm(const RmsNormArgs& args) {
  KERNEL_CHECK_EQ(args.y.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.y.shape[1], args.x.shape[1]);
  KERNEL_CHECK_EQ(args.weight.shape[0], args.x.shape[1]);
}

namespace cpu {
void RmsNorm(const RmsNormArgs& args, Stream& stream);
}
namespace cuda {
void RmsNorm(const RmsNormArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
