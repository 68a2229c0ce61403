// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/quantise.h"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels {
namespace cpu {

void ActQuant(const ActQuantArgs& args, Stream& /*stream*/) {
  CheckActQuant(args);
  const int64_t groups = args.scale.size();
  for (int64_t i = 0; i < groups; ++i) {
    args.scale[i] =
        QuantiseE4M3(args.x.data + i * kActGroup, kActGroup, args.q.data + i * kActGroup);
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
