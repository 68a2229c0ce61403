// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/moe/expert.h"
#include "kernels/moe/moe_experts.h"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels {
namespace cpu {

void MoeExperts(const MoeExpertsArgs& args, Stream& stream) {
  CheckMoeExperts(args);
  const int64_t dim = args.x.shape[1], groups = dim / kActGroup;
  Scratch scratch(stream);
  const TensorView<E4M3, 2> q{scratch.Take<E4M3>(dim), {1, dim}};
  const TensorView<Ue8m0, 2> scale{scratch.Take<Ue8m0>(groups), {1, groups}};
  const TensorView<Bf16, 2> y{scratch.Take<Bf16>(dim), {1, dim}};
  float* sum = scratch.Take<float>(dim);
  ExpertArgs expert{.q = q, .scale = scale, .limit = args.limit, .y = y};
  for (int64_t t = 0; t < args.x.shape[0]; ++t) {
    ActQuant({.x = {args.x.row(t), {1, dim}}, .q = q, .scale = scale}, stream);
    std::fill_n(sum, dim, 0.0f);
    for (int64_t e = 0; e < args.routed.shape[0]; ++e) {
      for (int64_t k = 0; k < args.experts.shape[1]; ++k) {
        if (args.experts.row(t)[k] != args.first_expert + e) continue;
        expert.weights = args.routed[e];
        expert.weight = {args.weight.row(t) + k, {1}};
        ExpertWith(QuantLinear, expert, stream);
        for (int64_t d = 0; d < dim; ++d) sum[d] += ToFloat(y[d]);
      }
    }
    expert.weights = args.shared;
    expert.weight = {};
    ExpertWith(QuantLinear, expert, stream);
    for (int64_t d = 0; d < dim; ++d) args.y.row(t)[d] = ToBf16(sum[d] + ToFloat(y[d]));
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
