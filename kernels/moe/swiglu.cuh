// SPDX-License-Identifier: Apache-2.0
// The clamped gate of one value on a device (swiglu.h), silu in fp32: within 2^-21 of it.
// Internal to kernels/moe.
#pragma once

namespace tandem::kernels::cuda {

// Not yet rounded to bf16. std::min and std::clamp let a NaN through; so do these comparisons.
__device__ __forceinline__ float SwigluOf(float a, float b, float weight, float limit) {
  a = limit < a ? limit : a;
  b = b < -limit ? -limit : limit < b ? limit : b;
  const float silu = __fdividef(a, 1.0f + expf(-a));
  return weight * (silu * b);
}

}  // namespace tandem::kernels::cuda
