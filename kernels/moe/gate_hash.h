// SPDX-License-Identifier: Apache-2.0
// gate_hash: the experts of the first layers, looked up by token id; weights from the router as
// usual.
//
// Math      experts[t] = tid2eid[token[t]];  weight[t,i] as in gate_score
// Shapes    logits[T,E]  tokens[T]  tid2eid[V,K]  →  experts[T,K]  weight[T,K]
// Layout    row-major; logits, weight fp32; tid2eid int64, values in 0..E−1; the rest int32. A
// token
//           or value outside is fatal on the CPU; a device gives expert −1, weight 0 in its place.
// Numerics  as gate_score, the sum in table order.
// Cost      8K + 4E bytes a token: launch-bound
// Roofline  E=256: T=8192 → 9 MB → 2 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 3.10
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct GateHashArgs {
  TensorView<const float, 2> logits;     // [T, E]
  TensorView<const int32_t, 1> tokens;   // [T]
  TensorView<const int64_t, 2> tid2eid;  // [V, K]
  float routed_scaling_factor = 0;
  TensorView<int32_t, 2> experts;  // [T, K]
  TensorView<float, 2> weight;     // [T, K]
};

inline void CheckGateHash(const GateHashArgs& args) {
  KERNEL_CHECK_EQ(args.tokens.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.experts.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.experts.shape[1], args.tid2eid.shape[1]);
  KERNEL_CHECK_EQ(args.weight.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.weight.shape[1], args.experts.shape[1]);
}

namespace cpu {
void GateHash(const GateHashArgs& args, Stream& stream);
}
namespace cuda {
void GateHash(const GateHashArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
