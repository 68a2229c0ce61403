// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/rope/rope_table.h"

namespace tandem::kernels {
namespace {

// The frequency index whose wave turns n times within the original context.
double Correction(const RopeScaling& scaling, double n) {
  return kRopeDim * std::log(scaling.original_positions / (n * 2 * std::numbers::pi)) /
         (2 * std::log(scaling.base));
}

}  // namespace

void RopeFrequencies(const RopeScaling& scaling, TensorView<float, 1> frequencies) {
  KERNEL_CHECK_EQ(frequencies.shape[0], kRopeDim / 2);
  const bool yarn = scaling.factor != 1;
  const double low = yarn ? std::max(std::floor(Correction(scaling, scaling.beta_fast)), 0.0) : 0;
  const double high =
      yarn ? std::min(std::ceil(Correction(scaling, scaling.beta_slow)), kRopeDim - 1.0) : 0;
  for (int k = 0; k < kRopeDim / 2; ++k) {
    const float f =
        std::pow(static_cast<float>(scaling.base), -static_cast<float>(2 * k) / kRopeDim);
    if (!yarn) {
      frequencies[k] = f;
      continue;
    }
    // Equal bounds make a step instead of a ramp.
    const double ramp = std::clamp((k - low) / std::max(high - low, 1e-3), 0.0, 1.0);
    const float s = static_cast<float>(1.0 - ramp);
    frequencies[k] = f / static_cast<float>(scaling.factor) * (1.0f - s) + f * s;
  }
}

void RopeAngles(int64_t position, const float* frequencies, float* cos, float* sin) {
  for (int k = 0; k < kRopeDim / 2; ++k) {
    const float theta = static_cast<float>(position) * frequencies[k];
    cos[k] = static_cast<float>(std::cos(static_cast<double>(theta)));
    sin[k] = static_cast<float>(std::sin(static_cast<double>(theta)));
  }
}

namespace cpu {

void RopeTable(const RopeTableArgs& args, Stream& /*stream*/) {
  CheckRopeTable(args);
  for (int64_t t = 0; t < args.positions.shape[0]; ++t) {
    RopeAngles(args.positions[t], args.frequencies.data, args.cos.row(t), args.sin.row(t));
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
