// SPDX-License-Identifier: Apache-2.0
// What hc_pre and hc_head share, and what their backends share: all but the mixing product.
// Internal to kernels/hc; pure, thread-safe. Source: reference/deepseek_v4.md 3.2, steps 4 to 10.
#pragma once

#include "kernels/hc/hc_head.h"
#include "kernels/hc/hc_pre.h"

namespace tandem::kernels {

// Step 3 of one token, the part that backends differ in: m[k] = (Σ_j f[j]·fn[k,j])·r.
using MixFunction = void (*)(const Bf16* f, TensorView<const float, 2> fn, float r, float* mixes);
namespace cpu {
void HcMixes(const Bf16* f, TensorView<const float, 2> fn, float r, float* mixes);
}
namespace fast {
void HcMixes(const Bf16* f, TensorView<const float, 2> fn, float r, float* mixes);
}

// The operations, by either.
void HcPreWith(MixFunction mix, const HcPreArgs& args);
void HcHeadWith(MixFunction mix, const HcHeadArgs& args);

}  // namespace tandem::kernels
