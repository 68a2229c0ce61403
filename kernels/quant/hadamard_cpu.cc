// SPDX-License-Identifier: Apache-2.0
#include "kernels/quant/hadamard.h"

namespace tandem::kernels {

void Hadamard128(Bf16* x) {
  constexpr float kScale = 0.08838834764831845f;  // 128^-½
  float y[kIndexDim];
  for (int i = 0; i < kIndexDim; ++i) y[i] = ToFloat(x[i]);
  for (int stride = 1; stride < kIndexDim; stride *= 2) {
    for (int i = 0; i < kIndexDim; i += 2 * stride) {
      for (int j = i; j < i + stride; ++j) {
        const float a = y[j], b = y[j + stride];
        y[j] = a + b;
        y[j + stride] = a - b;
      }
    }
  }
  for (int i = 0; i < kIndexDim; ++i) x[i] = ToBf16(y[i] * kScale);
}

namespace cpu {

void Hadamard(const HadamardArgs& args, Stream& /*stream*/) {
  CheckHadamard(args);
  for (int64_t r = 0; r < args.x.shape[0]; ++r) Hadamard128(args.x.row(r));
}

}  // namespace cpu

}  // namespace tandem::kernels
