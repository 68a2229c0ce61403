// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/moe/expert.h"
#include "kernels/moe/moe_experts.h"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels {
namespace {

// Runs one expert on the tokens that chose it and adds to their sums.
struct Grouped {
  const MoeExpertsArgs& args;
  TensorView<const E4M3, 2> q;       // [T, D]
  TensorView<const Ue8m0, 2> scale;  // [T, D/128]
  float* sum;                        // [T, D]

  void Run(const ExpertWeights& weights, const int32_t* tokens, const float* weight, int64_t n,
           Stream& stream) const {
    const int64_t dim = q.shape[1], groups = scale.shape[1];
    Scratch scratch(stream);
    const TensorView<E4M3, 2> rows{scratch.Take<E4M3>(n * dim), {n, dim}};
    const TensorView<Ue8m0, 2> scales{scratch.Take<Ue8m0>(n * groups), {n, groups}};
    const TensorView<Bf16, 2> y{scratch.Take<Bf16>(n * dim), {n, dim}};
    for (int64_t i = 0; i < n; ++i) {
      std::copy_n(q.row(tokens[i]), dim, rows.row(i));
      std::copy_n(scale.row(tokens[i]), groups, scales.row(i));
    }
    ExpertWith(fast::QuantLinear,
               {.q = rows,
                .scale = scales,
                .weights = weights,
                .weight = {weight, {n}},
                .limit = args.limit,
                .y = y},
               stream);
    for (int64_t i = 0; i < n; ++i) {
      float* total = sum + tokens[i] * dim;
      for (int64_t d = 0; d < dim; ++d) total[d] += ToFloat(y.row(i)[d]);
    }
  }
};

}  // namespace

namespace fast {

void MoeExperts(const MoeExpertsArgs& args, Stream& stream) {
  CheckMoeExperts(args);
  const int64_t count = args.x.shape[0], dim = args.x.shape[1], topk = args.experts.shape[1];
  Scratch scratch(stream);
  const TensorView<E4M3, 2> q{scratch.Take<E4M3>(count * dim), {count, dim}};
  const int64_t groups = dim / kActGroup;
  const TensorView<Ue8m0, 2> scale{scratch.Take<Ue8m0>(count * groups), {count, groups}};
  float* sum = scratch.Take<float>(count * dim);
  int32_t* tokens = scratch.Take<int32_t>(count * topk);
  float* weight = scratch.Take<float>(count * topk);
  cpu::ActQuant({.x = args.x, .q = q, .scale = scale}, stream);
  std::fill_n(sum, count * dim, 0.0f);

  // Experts outside: a step reads each expert's weights once, and sums ascend in expert id for
  // every token.
  const Grouped grouped{.args = args, .q = q, .scale = scale, .sum = sum};
  for (int64_t e = 0; e < args.routed.shape[0]; ++e) {
    int64_t n = 0;
    for (int64_t i = 0; i < count * topk; ++i) {
      if (args.experts[i] != args.first_expert + e) continue;
      tokens[n] = static_cast<int32_t>(i / topk);
      weight[n++] = args.weight[i];
    }
    if (n > 0) grouped.Run(args.routed[e], tokens, weight, n, stream);
  }
  const TensorView<Bf16, 2> y{scratch.Take<Bf16>(count * dim), {count, dim}};
  ExpertWith(
      QuantLinear,
      {.q = q, .scale = scale, .weights = args.shared, .weight = {}, .limit = args.limit, .y = y},
      stream);
  for (int64_t i = 0; i < count * dim; ++i) args.y[i] = ToBf16(sum[i] + ToFloat(y[i]));
}

}  // namespace fast

}  // namespace tandem::kernels
