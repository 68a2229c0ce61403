// SPDX-License-Identifier: Apache-2.0
#include "kernels/moe/gate_hash.h"
#include "kernels/moe/gate_score.h"

namespace tandem::kernels {
namespace cpu {

void GateHash(const GateHashArgs& args, Stream& /*stream*/) {
  CheckGateHash(args);
  const int64_t topk = args.experts.shape[1];
  for (int64_t t = 0; t < args.logits.shape[0]; ++t) {
    KERNEL_CHECK_GE(args.tokens[t], 0);
    KERNEL_CHECK_LE(args.tokens[t], args.tid2eid.shape[0] - 1);
    for (int64_t i = 0; i < topk; ++i) {
      const int64_t expert = args.tid2eid.row(args.tokens[t])[i];
      KERNEL_CHECK_GE(expert, 0);
      KERNEL_CHECK_LE(expert, args.logits.shape[1] - 1);
      args.experts.row(t)[i] = static_cast<int32_t>(expert);
    }
    GateWeights(args.logits.row(t), args.experts.row(t), topk, args.routed_scaling_factor,
                args.weight.row(t));
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
