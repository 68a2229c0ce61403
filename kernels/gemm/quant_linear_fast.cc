// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/panels.h"
#include "kernels/gemm/quant_linear.h"

namespace tandem::kernels {
namespace fast {

void QuantLinear(const QuantLinearArgs& args, Stream& stream) {
  if (args.weight.prepared == nullptr) return cpu::QuantLinear(args, stream);
  CheckQuantLinear(args);
  const int64_t tokens = args.q.shape[0], k = args.weight.k;
  Scratch scratch(stream);
  float* x = scratch.Take<float>(tokens * k);
  for (int64_t g = 0; g < tokens * k / kActGroup; ++g) {
    const float scale = ToFloat(args.scale[g]);
    for (int64_t i = g * kActGroup; i < (g + 1) * kActGroup; ++i) {
      x[i] = ToFloat(args.q[i]) * scale;
    }
  }
  MultiplyPanels({.panels = args.weight.prepared,
                  .k = k,
                  .n = args.weight.n,
                  .x = x,
                  .x_stride = k,
                  .tokens = tokens},
                 [&args](int64_t t, int64_t n, const float* sums, int64_t count) {
                   for (int64_t i = 0; i < count; ++i) args.y.row(t)[n + i] = ToBf16(sums[i]);
                 });
}

}  // namespace fast

}  // namespace tandem::kernels
