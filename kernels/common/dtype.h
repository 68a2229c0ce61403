// SPDX-License-Identifier: Apache-2.0
// Scalar codecs of the four storage formats: exact decoding, round to nearest even, saturating
// where the format says.
//
//   Bf16   1-8-7; overflow goes to infinity, NaN stays NaN.
//   E4M3   OCP E4M3FN: 1-4-3, ±448 the largest, no infinity, NaN = 0x7F or 0xFF. Encoding saturates
//   at ±448. E2M1   4-bit code: sign in bit 3, magnitudes 0 .5 1 1.5 2 3 4 6 in bits 2..0. Encoding
//   saturates at ±6, NaN -> 6. Ue8m0  b -> 2^(b-127); 0xFF is NaN; 0x00 is 2^-127 (a subnormal
//   float, exact).
//
// Pure functions, thread-safe. Source: reference/deepseek_v4.md 0 and 2.4.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/common/host_device.h"

namespace tandem::kernels {

struct Bf16 {
  uint16_t bits;
  friend bool operator==(Bf16, Bf16) = default;
};
struct E4M3 {
  uint8_t bits;
  friend bool operator==(E4M3, E4M3) = default;
};
struct Ue8m0 {
  uint8_t bits;
  friend bool operator==(Ue8m0, Ue8m0) = default;
};

TANDEM_HOST_DEVICE inline float ToFloat(Bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

TANDEM_HOST_DEVICE inline Bf16 ToBf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const bool nan = (u & 0x7FFFFFFFu) > 0x7F800000u;
  const uint32_t rounded = nan ? (u | 0x00400000u) : u + 0x7FFFu + ((u >> 16) & 1u);
  return Bf16{static_cast<uint16_t>(rounded >> 16)};
}

// bf16(x) as a float: one rounding point of the specification.
TANDEM_HOST_DEVICE inline float RoundBf16(float x) {
  return ToFloat(ToBf16(x));
}

E4M3 ToE4M3(float x);
struct E4M3Table {
  float values[256];
};
constexpr E4M3Table MakeE4M3Table() {
  E4M3Table table{};
  for (int b = 0; b < 256; ++b) {
    const int exponent = (b >> 3) & 15, mantissa = b & 7;
    // (8 + m)·2^(e−10), and m·2^−9 for e = 0
    float value = static_cast<float>(exponent == 0 ? 2 * mantissa : 8 + mantissa) / 1024.0f;
    for (int i = 0; i < exponent; ++i) value *= 2.0f;
    if ((b & 0x7F) == 0x7F) value = std::numeric_limits<float>::quiet_NaN();
    table.values[b] = b >= 128 ? -value : value;
  }
  return table;
}
inline constexpr E4M3Table kE4M3 = MakeE4M3Table();  // by code
inline float ToFloat(E4M3 x) {
  return kE4M3.values[x.bits];
}

uint8_t ToE2M1(float x);  // 0..15
inline constexpr float kE2M1Values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                          -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
inline float E2M1ToFloat(uint8_t code) {
  return kE2M1Values[code & 15];
}

TANDEM_HOST_DEVICE inline float ToFloat(Ue8m0 x) {
  if (x.bits == 0) return std::bit_cast<float>(0x00400000u);  // 2^-127
  if (x.bits == 0xFF) return std::bit_cast<float>(0x7FC00000u);
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 23);
}

}  // namespace tandem::kernels
