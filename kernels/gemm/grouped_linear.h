// SPDX-License-Identifier: Apache-2.0
// grouped_linear: wo_a, the block-diagonal first half of the output projection.
//
// Math      y[t,g,r] = bf( Σ_k x[t,g,k]·W[g·R+r,k] )
// Shapes    x[T,G,K]  W[G·R,K]  →  y[T,G,R]      R a multiple of 16
// Layout    row-major; x and y bf16; x is the attention output [T,H,512] seen as [T,G,H·512/G].
//           W.format kFp8 (acts as exact bf16) or kBf16.
// Numerics  the input is not quantised; products exact in fp32; sums as in quant_linear, one
//           rounding to bf16. A row's bits do not depend on T. CUDA: as there; kBf16 as in
//           bf16_linear. The weight must be prepared.
// Cost      G·R·K bytes of weights, 2·T·G·R·K flop: memory-bound below T ≈ 150 on H200
// Roofline  G=8, R=1024, K=4096: T=1 → 33.6 MB → 7 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 3.9, DIS-8
#pragma once

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"
#include "kernels/gemm/linear_weight.h"

namespace tandem::kernels {

struct GroupedLinearArgs {
  TensorView<const Bf16, 3> x;  // [T, G, K]
  LinearWeight weight;          // [G·R, K]
  TensorView<Bf16, 3> y;        // [T, G, R]
};

inline void CheckGroupedLinear(const GroupedLinearArgs& args) {
  CheckLinearWeight(args.weight);
  KERNEL_CHECK(args.weight.format != WeightFormat::kFp4);
  KERNEL_CHECK_EQ(args.x.shape[2], args.weight.k);
  KERNEL_CHECK_EQ(args.y.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.y.shape[1], args.x.shape[1]);
  KERNEL_CHECK_EQ(args.y.shape[1] * args.y.shape[2], args.weight.n);
  KERNEL_CHECK_MULTIPLE(args.y.shape[2], 16);  // panels of rows must not straddle groups
}

namespace cpu {
void GroupedLinear(const GroupedLinearArgs& args, Stream& stream);
}
namespace fast {
void GroupedLinear(const GroupedLinearArgs& args, Stream& stream);
}
namespace cuda {
void GroupedLinear(const GroupedLinearArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
