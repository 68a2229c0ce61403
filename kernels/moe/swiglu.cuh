// SPDX-License-Identifier: Apache-2.0
// The clamped gate of one value on a device (swiglu.h), silu in fp32: within 2^-22 of it.
// Internal to kernels/moe.
#pragma once

#include "kernels/common/dtype.h"

namespace tandem::kernels::cuda {

// std::min and std::clamp let a NaN through; so do these comparisons.
__device__ __forceinline__ Bf16 SwigluOf(float a, float b, float weight, float limit) {
  a = limit < a ? limit : a;
  b = b < -limit ? -limit : limit < b ? limit : b;
  const float silu = a / (1.0f + expf(-a));
  return ToBf16(weight * (silu * b));
}

}  // namespace tandem::kernels::cuda
