// SPDX-License-Identifier: Apache-2.0
#include "kernels/moe/expert.h"

#include "kernels/moe/swiglu.h"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels {

void ExpertWith(QuantLinearFunction linear, const ExpertArgs& args, Stream& stream) {
  const int64_t n = args.q.shape[0], inner = args.weights.w1.n;
  Scratch scratch(stream);
  const TensorView<Bf16, 2> a{scratch.Take<Bf16>(n * inner), {n, inner}};
  const TensorView<Bf16, 2> b{scratch.Take<Bf16>(n * inner), {n, inner}};
  const TensorView<E4M3, 2> q{scratch.Take<E4M3>(n * inner), {n, inner}};
  const int64_t groups = inner / kActGroup;
  const TensorView<Ue8m0, 2> scale{scratch.Take<Ue8m0>(n * groups), {n, groups}};
  linear({.q = args.q, .scale = args.scale, .weight = args.weights.w1, .y = a}, stream);
  linear({.q = args.q, .scale = args.scale, .weight = args.weights.w3, .y = b}, stream);
  cpu::Swiglu({.a = a, .b = b, .weight = args.weight, .limit = args.limit, .out = a}, stream);
  cpu::ActQuant({.x = a, .q = q, .scale = scale}, stream);
  linear({.q = q, .scale = scale, .weight = args.weights.w2, .y = args.y}, stream);
}

}  // namespace tandem::kernels
