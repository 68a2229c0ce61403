// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dtype.h"

#include <cmath>

namespace tandem::kernels {
E4M3 ToE4M3(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (u >> 24) & 0x80u;
  const float a = std::fabs(x);
  uint32_t code = 0;
  if (std::isnan(x)) {
    code = 0x7F;
  } else if (a >= 448.0f) {
    code = 0x7E;
  } else if (a < 0x1p-6f) {
    // Adding 2^14 leaves multiples of 2^-9 in the low mantissa bits, rounded to nearest even.
    code = std::bit_cast<uint32_t>(a + 0x1p14f) - std::bit_cast<uint32_t>(0x1p14f);
  } else {
    const uint32_t v = u & 0x7FFFFFFFu;
    code = ((v + 0x7FFFFu + ((v >> 20) & 1u)) >> 20) - (120u << 3);
  }
  return E4M3{static_cast<uint8_t>(sign | code)};
}

uint8_t ToE2M1(float x) {
  const float a = std::fabs(x);
  // Ties go to the even code; every comparison is true for NaN.
  const int code = !(a <= 0.25f) + !(a < 0.75f) + !(a <= 1.25f) + !(a < 1.75f) + !(a <= 2.5f) +
                   !(a < 3.5f) + !(a <= 5.0f);
  return static_cast<uint8_t>(code | (std::signbit(x) ? 8 : 0));
}

}  // namespace tandem::kernels
