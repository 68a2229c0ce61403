// SPDX-License-Identifier: Apache-2.0
// The CUDA linears for many tokens (prefill), on prepared weights: what quant_linear, bf16_linear
// and grouped_linear call above a few dozen tokens. Contracts and arguments are theirs.
// Internal to kernels/gemm.
//
// Numerics  products exact; fp32 sums in the tensor core over all of K. A row's bits do not depend
//           on T among calls of these functions with the same math.
//           kBf16: in ascending steps of 16, |error| before the rounding ≤ (K/16)·2^-22·Σ|x·W|;
//           scales of weights 2^-86..2^41, of activations any but NaN.
//           kMx: in ascending steps of 32, ≤ (K/32)·2^-22·Σ|x·W|, as ptx/mma_block_scale.h assumes
//           of the instruction (the emulation: (K/32)·2^-24·Σ|x·W|); any scales.
// Scratch   2·T·K bytes for quantised activations (kMx: none), and for bf16 ones whose rows are not
//           whole tiles
#pragma once

#include <cstdint>

#include "kernels/gemm/bf16_linear.h"
#include "kernels/gemm/grouped_linear.h"
#include "kernels/gemm/quant_linear.h"
#include "kernels/gemm/tile_math.h"

namespace tandem::kernels::cuda {

void TileQuantLinear(const QuantLinearArgs& args, TileMath math, Stream& stream);
void TileBf16Linear(const Bf16LinearArgs& args, Stream& stream);
void TileGroupedLinear(const GroupedLinearArgs& args, Stream& stream);

}  // namespace tandem::kernels::cuda
