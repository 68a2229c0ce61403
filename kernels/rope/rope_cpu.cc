// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/rope.h"

namespace tandem::kernels {

void Rotate64(Bf16* x, const float* cos, const float* sin, bool inverse) {
  for (int k = 0; k < kRopeDim / 2; ++k) {
    const float a = ToFloat(x[2 * k]), b = ToFloat(x[2 * k + 1]);
    const float c = cos[k], s = inverse ? -sin[k] : sin[k];
    x[2 * k] = ToBf16(a * c - b * s);
    x[2 * k + 1] = ToBf16(a * s + b * c);
  }
}

namespace cpu {

void Rope(const RopeArgs& args, Stream& /*stream*/) {
  CheckRope(args);
  const int64_t heads = args.x.shape[1], dim = args.x.shape[2];
  for (int64_t t = 0; t < args.x.shape[0]; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      Rotate64(args.x.row(t) + (h + 1) * dim - kRopeDim, args.cos.row(t), args.sin.row(t),
               args.inverse);
    }
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
