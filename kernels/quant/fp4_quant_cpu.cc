// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/quantise.h"
#include "kernels/quant/fp4_quant.h"

namespace tandem::kernels {
namespace cpu {

void Fp4Quant(const Fp4QuantArgs& args, Stream& /*stream*/) {
  CheckFp4Quant(args);
  const int64_t groups = args.scale.size();
  for (int64_t i = 0; i < groups; ++i) {
    args.scale[i] =
        QuantiseE2M1(args.x.data + i * kIndexGroup, kIndexGroup, args.q.data + i * kIndexGroup / 2);
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
