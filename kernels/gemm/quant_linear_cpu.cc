// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/quant_linear.h"

namespace tandem::kernels {
namespace cpu {

void QuantLinear(const QuantLinearArgs& args, Stream& stream) {
  CheckQuantLinear(args);
  const LinearWeight& weight = args.weight;
  Scratch scratch(stream);
  float* w = scratch.Take<float>(weight.k);
  for (int64_t n = 0; n < weight.n; ++n) {
    ReadWeightRow(weight, n, w);
    for (int64_t t = 0; t < args.q.shape[0]; ++t) {
      double sum = 0;
      for (int64_t k = 0; k < weight.k; ++k) {
        const float x = ToFloat(args.q.row(t)[k]) * ToFloat(args.scale.row(t)[k / kActGroup]);
        sum += static_cast<double>(x) * w[k];
      }
      args.y.row(t)[n] = ToBf16(static_cast<float>(sum));
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
