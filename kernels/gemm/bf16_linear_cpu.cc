// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/bf16_linear.h"

namespace tandem::kernels {
namespace cpu {

void Bf16Linear(const Bf16LinearArgs& args, Stream& stream) {
  CheckBf16Linear(args);
  const LinearWeight& weight = args.weight;
  Scratch scratch(stream);
  float* w = scratch.Take<float>(weight.k);
  for (int64_t n = 0; n < weight.n; ++n) {
    ReadWeightRow(weight, n, w);
    for (int64_t t = 0; t < args.x.shape[0]; ++t) {
      double sum = 0;
      for (int64_t k = 0; k < weight.k; ++k) {
        sum += static_cast<double>(ToFloat(args.x.row(t)[k])) * w[k];
      }
      args.y.row(t)[n] = static_cast<float>(sum);
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
