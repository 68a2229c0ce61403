// SPDX-License-Identifier: Apache-2.0
// moe_experts: the routed experts of every token and the shared one, summed.
//
// Math      expert_e(x, g) = w2_e · swiglu(w1_e·x, w3_e·x, g)        linears are quant_linear,
//           inputs act_quant
//           y[t] = bf( Σ_{e ascending} expert_e(x[t], weight of e) + shared(x[t], 1) )
// Shapes    x[T,D]  experts[T,K]  weight[T,K]  w1,w3[E][I,D]  w2[E][D,I]  shared w1,w3[J,D]
//           w2[D,J]  →  y[T,D]
// Layout    row-major; x, y bf16; experts int32; weight fp32. y may be x. `routed` holds experts
//           first_expert .. first_expert+E−1; a slot that names none of them (−1, or another rank's
//           expert) is skipped. `routed` is a host array; on a device its weights are prepared,
//           alike, and evenly spaced: w1 of expert e at w1 of expert 0 + e · a constant, …
// Numerics  x is quantised once; w1·x, w3·x, the gate and w2's result are each rounded to bf16; the
//           sum is fp32 over ascending expert ids, then the shared expert, rounded once. An expert
//           named twice by a token counts twice. A row's bits do not depend on T. CUDA, T ≤ 8: K
//           in 4 parts (w1, w3) and 2 of FP4 or 4 of FP8 (w2), those added in ascending order; FP8
//           sums of 64 products; silu in fp32. For tens of tokens as T ≤ 8, but w2's K in one
//           part; beyond, see moe_tiles.h.
// Cost      weights of the experts in use, read once a step; 6·D·I flop a pair and 6·D·J a token
// Roofline  D=4096, I=2048, 6 of 256, FP4: T=1 → 80 MB + 25 MB shared → 22 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 3.10, DIS-9
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"
#include "kernels/gemm/linear_weight.h"

namespace tandem::kernels {

struct ExpertWeights {
  LinearWeight w1;  // [I, D] gate
  LinearWeight w3;  // [I, D] up
  LinearWeight w2;  // [D, I] down
};

struct MoeExpertsArgs {
  TensorView<const Bf16, 2> x;                // [T, D]
  TensorView<const int32_t, 2> experts;       // [T, K]
  TensorView<const float, 2> weight;          // [T, K]
  TensorView<const ExpertWeights, 1> routed;  // [E]
  int64_t first_expert = 0;                   // the id of routed[0]
  ExpertWeights shared;
  float limit = 0;        // swiglu_limit
  TensorView<Bf16, 2> y;  // [T, D]
};

inline void CheckMoeExperts(const MoeExpertsArgs& args) {
  KERNEL_CHECK_EQ(args.experts.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.weight.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.weight.shape[1], args.experts.shape[1]);
  KERNEL_CHECK_EQ(args.shared.w2.n, args.x.shape[1]);
  KERNEL_CHECK_EQ(args.y.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.y.shape[1], args.x.shape[1]);
}

namespace cpu {
void MoeExperts(const MoeExpertsArgs& args, Stream& stream);
}
namespace fast {
void MoeExperts(const MoeExpertsArgs& args, Stream& stream);
}
namespace cuda {
void MoeExperts(const MoeExpertsArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
