// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/quantise.h"

#include <algorithm>
#include <cmath>

namespace tandem::kernels {
namespace {

constexpr float kE4M3Floor = 1e-4f;
constexpr float kE4M3Inverse = 1.0f / 448.0f;
constexpr float kE2M1Floor = 6 * 0x1p-126f;
constexpr float kE2M1Inverse = 1.0f / 6.0f;
constexpr uint8_t kNanScale = 0xFF;

float FlooredMaximum(const Bf16* x, int64_t n, float floor) {
  float a = floor;
  for (int64_t i = 0; i < n; ++i) {
    const float v = std::fabs(ToFloat(x[i]));
    a = v > a ? v : a;
  }
  return a;
}

}  // namespace

Ue8m0 QuantiseE4M3(const Bf16* x, int64_t n, E4M3* codes) {
  const Ue8m0 scale = ScaleOf(FlooredMaximum(x, n, kE4M3Floor), kE4M3Inverse);
  if (scale.bits == kNanScale) {
    std::fill_n(codes, n, E4M3{0x7F});
    return scale;
  }
  const float inverse = InverseScale(scale);
  for (int64_t i = 0; i < n; ++i) codes[i] = ToE4M3(ToFloat(x[i]) * inverse);
  return scale;
}

Ue8m0 QuantiseE2M1(const Bf16* x, int64_t n, uint8_t* packed) {
  const Ue8m0 scale = ScaleOf(FlooredMaximum(x, n, kE2M1Floor), kE2M1Inverse);
  const float inverse = scale.bits == kNanScale ? 0.0f : InverseScale(scale);
  for (int64_t i = 0; i < n; i += 2) {
    const uint8_t low = ToE2M1(ToFloat(x[i]) * inverse);
    const uint8_t high = ToE2M1(ToFloat(x[i + 1]) * inverse);
    packed[i / 2] = static_cast<uint8_t>(low | (high << 4));
  }
  return scale;
}

}  // namespace tandem::kernels
