// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm/mean_square.h"
#include "kernels/norm/rms_norm.h"

namespace tandem::kernels {
namespace cpu {

void RmsNorm(const RmsNormArgs& args, Stream& /*stream*/) {
  CheckRmsNorm(args);
  const int64_t dim = args.x.shape[1];
  for (int64_t t = 0; t < args.x.shape[0]; ++t) {
    const Bf16* x = args.x.row(t);
    const float r = InverseRms(x, dim, args.eps);
    for (int64_t d = 0; d < dim; ++d) {
      args.y.row(t)[d] = ToBf16(ToFloat(args.weight[d]) * (ToFloat(x[d]) * r));
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
