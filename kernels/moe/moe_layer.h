// SPDX-License-Identifier: Apache-2.0
// moe_layer: router, choice, experts and their sum in one operation: what a decode step runs.
//
// Math      logits = x·routerᵀ (bf16_linear);  experts, weight = gate_hash where tid2eid is given,
//           gate_score otherwise;  y = moe_experts(x, experts, weight)
// Shapes    x[T,D]  router[E,D]  bias[E] or tokens[T] and tid2eid[V,K]  routed and shared as in
//           moe_experts  →  y[T,D]
// Layout    as in those operations. y may be x.
// Numerics  as those operations. CUDA, T ≤ 8: three kernels; the router's sums of 128 products are
//           added in up to 16 parts of K, those in ascending order.
// Cost      as moe_experts, and 2·E·D bytes of the router
// Roofline  D=4096, I=2048, 6 of 256, FP4: T=1 → 107 MB → 22 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 3.10
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"
#include "kernels/gemm/linear_weight.h"
#include "kernels/moe/moe_experts.h"

namespace tandem::kernels {

struct MoeLayerArgs {
  TensorView<const Bf16, 2> x;           // [T, D]
  LinearWeight router;                   // [E, D] kBf16
  TensorView<const float, 1> bias;       // [E]; where experts are chosen by score
  TensorView<const int32_t, 1> tokens;   // [T]; where they are looked up
  TensorView<const int64_t, 2> tid2eid;  // [V, K]; data null: chosen by score
  int64_t topk = 0;                      // K
  float routed_scaling_factor = 0;
  TensorView<const ExpertWeights, 1> routed;  // [experts here]
  int64_t first_expert = 0;                   // the id of routed[0]
  ExpertWeights shared;
  float limit = 0;        // swiglu_limit
  TensorView<Bf16, 2> y;  // [T, D]
};

inline void CheckMoeLayer(const MoeLayerArgs& args) {
  KERNEL_CHECK(args.router.format == WeightFormat::kBf16);
  KERNEL_CHECK_EQ(args.router.k, args.x.shape[1]);
  KERNEL_CHECK_GE(args.topk, 1);
  KERNEL_CHECK_LE(args.topk, args.router.n);
  if (args.tid2eid.data != nullptr) {
    KERNEL_CHECK_EQ(args.tokens.shape[0], args.x.shape[0]);
    KERNEL_CHECK_EQ(args.tid2eid.shape[1], args.topk);
  } else {
    KERNEL_CHECK_EQ(args.bias.shape[0], args.router.n);
  }
}

namespace cpu {
void MoeLayer(const MoeLayerArgs& args, Stream& stream);
}
namespace fast {
void MoeLayer(const MoeLayerArgs& args, Stream& stream);
}
namespace cuda {
void MoeLayer(const MoeLayerArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
