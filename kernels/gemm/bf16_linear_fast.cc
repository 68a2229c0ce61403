// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/gemm/bf16_linear.h"
#include "kernels/gemm/panels.h"

namespace tandem::kernels {
namespace fast {

void Bf16Linear(const Bf16LinearArgs& args, Stream& stream) {
  if (args.weight.prepared == nullptr) return cpu::Bf16Linear(args, stream);
  CheckBf16Linear(args);
  const int64_t tokens = args.x.shape[0], k = args.weight.k;
  Scratch scratch(stream);
  float* x = scratch.Take<float>(tokens * k);
  for (int64_t i = 0; i < tokens * k; ++i) x[i] = ToFloat(args.x[i]);
  MultiplyPanels({.panels = args.weight.prepared,
                  .k = k,
                  .n = args.weight.n,
                  .x = x,
                  .x_stride = k,
                  .tokens = tokens},
                 [&args](int64_t t, int64_t n, const float* sums, int64_t count) {
                   std::copy_n(sums, count, args.y.row(t) + n);
                 });
}

}  // namespace fast

}  // namespace tandem::kernels
