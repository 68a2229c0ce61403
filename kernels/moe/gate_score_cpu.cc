// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/moe/gate_score.h"

namespace tandem::kernels {

float SqrtSoftplus(float logit) {
  const double l = logit;
  return static_cast<float>(std::sqrt(std::max(l, 0.0) + std::log1p(std::exp(-std::abs(l)))));
}

void GateWeights(const float* logits, const int32_t* experts, int64_t topk, float factor,
                 float* weight) {
  float sum = 0;
  for (int64_t i = 0; i < topk; ++i) sum += weight[i] = SqrtSoftplus(logits[experts[i]]);
  for (int64_t i = 0; i < topk; ++i) weight[i] = weight[i] / sum * factor;
}

namespace cpu {

void GateScore(const GateScoreArgs& args, Stream& stream) {
  CheckGateScore(args);
  const int64_t count = args.logits.shape[1], topk = args.experts.shape[1];
  Scratch scratch(stream);
  float* key = scratch.Take<float>(count);
  int32_t* order = scratch.Take<int32_t>(count);
  for (int64_t t = 0; t < args.logits.shape[0]; ++t) {
    for (int64_t e = 0; e < count; ++e) {
      const float biased = SqrtSoftplus(args.logits.row(t)[e]) + args.bias[e];
      key[e] = std::isnan(biased) ? -std::numeric_limits<float>::infinity() : biased;
    }
    std::iota(order, order + count, 0);
    std::partial_sort(order, order + topk, order + count, [key](int32_t a, int32_t b) {
      return key[a] != key[b] ? key[a] > key[b] : a < b;
    });
    std::copy_n(order, topk, args.experts.row(t));
    GateWeights(args.logits.row(t), order, topk, args.routed_scaling_factor, args.weight.row(t));
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
