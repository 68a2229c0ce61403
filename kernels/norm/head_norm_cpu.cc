// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm/head_norm.h"
#include "kernels/norm/mean_square.h"

namespace tandem::kernels {
namespace cpu {

void HeadNorm(const HeadNormArgs& args, Stream& /*stream*/) {
  CheckHeadNorm(args);
  const int64_t dim = args.q.shape[2];
  for (int64_t i = 0; i < args.q.shape[0] * args.q.shape[1]; ++i) {
    Bf16* q = args.q.data + i * dim;
    const float r = InverseRms(q, dim, args.eps);
    for (int64_t d = 0; d < dim; ++d) q[d] = ToBf16(ToFloat(q[d]) * r);
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
