// SPDX-License-Identifier: Apache-2.0
// head_norm: scale every query head to unit mean square, without a weight.
//
// Math      q[t,h,d] ← bf( q[t,h,d] · r ),  r = 1 / sqrt( mean_d q[t,h,d]² + eps )
// Shapes    q[T,H,d], in place
// Layout    row-major, bf16.
// Numerics  mean square and r in fp64, r rounded to fp32; product in fp32; one rounding to bf16
//           (DIS-2). CUDA: pairs of fp32 for fp64 (pair_sum.cuh).
// Cost      4·H·d bytes, 3·H·d flop a token: memory-bound
// Roofline  H=64, d=512: T=8192 → 1.07 GB → 224 µs at 4.8 TB/s; fuse with rope
// Source    reference/deepseek_v4.md 3.3
#pragma once

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct HeadNormArgs {
  TensorView<Bf16, 3> q;  // [T, H, d]
  float eps = 0;
};

inline void CheckHeadNorm(const HeadNormArgs& args) {
  KERNEL_CHECK_GE(args.q.shape[2], 1);
}

namespace cpu {
void HeadNorm(const HeadNormArgs& args, Stream& stream);
}
namespace cuda {
void HeadNorm(const HeadNormArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
