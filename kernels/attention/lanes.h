// SPDX-License-Identifier: Apache-2.0
// A dot product whose order of sums is fixed: 16 lanes, each ascending, then halved until one is
// left. Written so that the compiler keeps lanes in vector registers on any target. Pure.
#pragma once

#include <cstdint>

namespace tandem::kernels {

// n a multiple of 16.
inline float Dot(const float* a, const float* b, int64_t n) {
  constexpr int kLanes = 16;
  float lanes[kLanes] = {};
  for (int64_t j = 0; j < n; j += kLanes) {
    for (int i = 0; i < kLanes; ++i) lanes[i] += a[j + i] * b[j + i];
  }
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

}  // namespace tandem::kernels
