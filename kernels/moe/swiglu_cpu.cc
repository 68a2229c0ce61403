// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kernels/moe/swiglu.h"

namespace tandem::kernels {
namespace cpu {

void Swiglu(const SwigluArgs& args, Stream& /*stream*/) {
  CheckSwiglu(args);
  for (int64_t t = 0; t < args.a.shape[0]; ++t) {
    const float weight = args.weight.data != nullptr ? args.weight[t] : 1.0f;
    for (int64_t i = 0; i < args.a.shape[1]; ++i) {
      const float a = std::min(ToFloat(args.a.row(t)[i]), args.limit);
      const float b = std::clamp(ToFloat(args.b.row(t)[i]), -args.limit, args.limit);
      const float silu = static_cast<float>(a / (1.0 + std::exp(-static_cast<double>(a))));
      args.out.row(t)[i] = ToBf16(weight * (silu * b));
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
