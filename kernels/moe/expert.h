// SPDX-License-Identifier: Apache-2.0
// One expert on a few rows: what the backends of moe_experts build on.
// Internal to kernels/moe. Source: reference/deepseek_v4.md 3.10.
#pragma once

#include "kernels/gemm/quant_linear.h"
#include "kernels/moe/moe_experts.h"

namespace tandem::kernels {

using QuantLinearFunction = void (*)(const QuantLinearArgs& args, Stream& stream);

struct ExpertArgs {
  TensorView<const E4M3, 2> q;       // [n, D] quantised input
  TensorView<const Ue8m0, 2> scale;  // [n, D/128]
  ExpertWeights weights;
  TensorView<const float, 1> weight;  // [n] routing weights; data null: 1
  float limit;
  TensorView<Bf16, 2> y;  // [n, D]
};

void ExpertWith(QuantLinearFunction linear, const ExpertArgs& args, Stream& stream);

}  // namespace tandem::kernels
