// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/grouped_linear.h"
#include "kernels/gemm/panels.h"

namespace tandem::kernels {
namespace fast {

void GroupedLinear(const GroupedLinearArgs& args, Stream& stream) {
  if (args.weight.prepared == nullptr) return cpu::GroupedLinear(args, stream);
  CheckGroupedLinear(args);
  const int64_t tokens = args.x.shape[0], groups = args.x.shape[1], k = args.weight.k;
  const int64_t rank = args.y.shape[2];
  Scratch scratch(stream);
  float* x = scratch.Take<float>(tokens * groups * k);
  for (int64_t i = 0; i < tokens * groups * k; ++i) x[i] = ToFloat(args.x[i]);
  for (int64_t g = 0; g < groups; ++g) {
    MultiplyPanels({.panels = args.weight.prepared + g * rank / kPanelRows * PanelBytes(k),
                    .k = k,
                    .n = rank,
                    .x = x + g * k,
                    .x_stride = groups * k,
                    .tokens = tokens},
                   [&](int64_t t, int64_t n, const float* sums, int64_t count) {
                     Bf16* y = args.y.row(t) + g * rank + n;
                     for (int64_t i = 0; i < count; ++i) y[i] = ToBf16(sums[i]);
                   });
  }
}

}  // namespace fast

}  // namespace tandem::kernels
