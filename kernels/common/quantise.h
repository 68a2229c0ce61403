// SPDX-License-Identifier: Apache-2.0
// Quantising one group of values to codes under one power-of-two scale: the arithmetic that
// activations, cache rows and indexer keys share.
//
//   a = max(max|x|, floor);  s = least 2^e >= fp32(a · fp32(1/largest)), from the bits;  code =
//   RNE(x / s), saturating E4M3: floor 1e-4, largest 448.  E2M1: floor 6·2^-126, largest 6.
//
// x / s is exact. A NaN in the group does not move the scale; its code is NaN in E4M3 and ±6 in
// E2M1. Pure functions. Source: reference/deepseek_v4.md 4.2, 4.3, 4.4.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/common/dtype.h"

namespace tandem::kernels {

// The scale from the floored maximum and fp32(1/largest).
TANDEM_HOST_DEVICE inline Ue8m0 ScaleOf(float a, float inverse_largest) {
  const uint32_t u = std::bit_cast<uint32_t>(a * inverse_largest);
  const uint32_t exponent = ((u >> 23) & 0xFFu) + ((u & 0x7FFFFFu) != 0 ? 1u : 0u);
  return Ue8m0{static_cast<uint8_t>(exponent)};
}

// 1/s, exact for bytes 1..253, which is all that ScaleOf gives for finite groups.
TANDEM_HOST_DEVICE inline float InverseScale(Ue8m0 s) {
  return std::bit_cast<float>(static_cast<uint32_t>(254 - s.bits) << 23);
}

// n values -> n codes and their scale.
Ue8m0 QuantiseE4M3(const Bf16* x, int64_t n, E4M3* codes);

// n (even) values -> n/2 bytes, low nibble = even index, and their scale.
Ue8m0 QuantiseE2M1(const Bf16* x, int64_t n, uint8_t* packed);

}  // namespace tandem::kernels
