// SPDX-License-Identifier: Apache-2.0
#include "kernels/sampling/penalties.h"

namespace tandem::kernels {
namespace cpu {

void Penalties(const PenaltiesArgs& args, Stream& /*stream*/) {
  CheckPenalties(args);
  for (int64_t t = 0; t < args.logits.shape[0]; ++t) {
    for (int32_t i = args.begin[t]; i < args.begin[t + 1]; ++i) {
      KERNEL_CHECK_GE(args.token[i], 0);
      KERNEL_CHECK_LE(args.token[i], args.logits.shape[1] - 1);
      float& l = args.logits.row(t)[args.token[i]];
      l = l > 0 ? l / args.repetition[t] : l * args.repetition[t];
      if (args.count[i] > 0) {
        l = l - args.frequency[t] * static_cast<float>(args.count[i]) - args.presence[t];
      }
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
