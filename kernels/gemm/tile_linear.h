// SPDX-License-Identifier: Apache-2.0
// The CUDA linears for many tokens (prefill), on prepared weights: what quant_linear, bf16_linear
// and grouped_linear call above a few dozen tokens. Contracts and arguments are theirs.
// Internal to kernels/gemm.
//
// Numerics  products exact; fp32 sums in the tensor core over all of K in ascending steps of 16:
//           |error| before the rounding ≤ (K/16)·2^-22·Σ|x·W|. A row's bits do not depend on T
//           among calls of these functions. Scales of weights 2^-86..2^41, of activations any but
//           NaN.
// Scratch   2·T·K bytes for quantised activations, and for bf16 ones whose rows are not whole tiles
#pragma once

#include <cstdint>

#include "kernels/gemm/bf16_linear.h"
#include "kernels/gemm/grouped_linear.h"
#include "kernels/gemm/quant_linear.h"

namespace tandem::kernels::cuda {

void TileQuantLinear(const QuantLinearArgs& args, Stream& stream);
void TileBf16Linear(const Bf16LinearArgs& args, Stream& stream);
void TileGroupedLinear(const GroupedLinearArgs& args, Stream& stream);

}  // namespace tandem::kernels::cuda
