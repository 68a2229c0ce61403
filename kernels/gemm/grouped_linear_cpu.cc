// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/grouped_linear.h"

namespace tandem::kernels {
namespace cpu {

void GroupedLinear(const GroupedLinearArgs& args, Stream& stream) {
  CheckGroupedLinear(args);
  const LinearWeight& weight = args.weight;
  const int64_t rank = args.y.shape[2];
  Scratch scratch(stream);
  float* w = scratch.Take<float>(weight.k);
  for (int64_t n = 0; n < weight.n; ++n) {
    ReadWeightRow(weight, n, w);
    for (int64_t t = 0; t < args.x.shape[0]; ++t) {
      const Bf16* x = args.x.row(t) + n / rank * weight.k;
      double sum = 0;
      for (int64_t k = 0; k < weight.k; ++k) sum += static_cast<double>(ToFloat(x[k])) * w[k];
      args.y.row(t)[n] = ToBf16(static_cast<float>(sum));
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
