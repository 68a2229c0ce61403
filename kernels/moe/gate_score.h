// SPDX-License-Identifier: Apache-2.0
// gate_score: choose the experts by biased score, weigh them by the unbiased one.
//
// Math      s[e] = √( max(l,0) + log1p(exp(−|l|)) ),  l = logits[t,e]
//           experts[t] = the K largest of s + bias, ties to the lowest e, best first
//           weight[t,i] = s[experts[t,i]] / Σ_i s[experts[t,i]] · routed_scaling_factor
// Shapes    logits[T,E]  bias[E]  →  experts[T,K]  weight[T,K]      K ≤ E
// Layout    row-major; fp32, experts int32.
// Numerics  softplus and root in fp64, s rounded to fp32; s + bias, the sum (best first), the
//           quotient and the product in fp32; no epsilon. NaN counts as −∞ in the choice.
// Cost      4E + 8K bytes a token: launch-bound
// Roofline  E=256: T=8192 → 9 MB → 2 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 3.10, DIS-12
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct GateScoreArgs {
  TensorView<const float, 2> logits;  // [T, E]
  TensorView<const float, 1> bias;    // [E]
  float routed_scaling_factor = 0;
  TensorView<int32_t, 2> experts;  // [T, K]
  TensorView<float, 2> weight;     // [T, K]
};

inline void CheckGateScore(const GateScoreArgs& args) {
  KERNEL_CHECK_EQ(args.bias.shape[0], args.logits.shape[1]);
  KERNEL_CHECK_EQ(args.experts.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.weight.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.weight.shape[1], args.experts.shape[1]);
  KERNEL_CHECK_LE(args.experts.shape[1], args.logits.shape[1]);
}

// s of one logit.
float SqrtSoftplus(float logit);

// The weights of one token's chosen experts, shared with gate_hash.
void GateWeights(const float* logits, const int32_t* experts, int64_t topk, float factor,
                 float* weight);

namespace cpu {
void GateScore(const GateScoreArgs& args, Stream& stream);
}
namespace cuda {
void GateScore(const GateScoreArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
