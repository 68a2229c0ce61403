// SPDX-License-Identifier: Apache-2.0
// The statistic of every RMS norm of the model. Pure. Source:
// reference/deepseek_v4.md 3.0, 3.2, 3.3.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/common/dtype.h"

namespace tandem::kernels {

// 1 / sqrt(mean x² + eps): fp64 within, rounded to fp32. Eight partial sums, always the same ones.
inline float InverseRms(const Bf16* x, int64_t n, float eps) {
  double sums[8] = {};
  for (int64_t i = 0; i < n; ++i) {
    const double v = ToFloat(x[i]);
    sums[i % 8] += v * v;
  }
  const double sum =
      ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  return static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(n) + eps));
}

}  // namespace tandem::kernels
