// SPDX-License-Identifier: Apache-2.0
// Fragment order as its header has it, code by code: the judge of what prepares weights.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/gemm/fragment_order.h"

namespace tandem::kernels {

inline int64_t FragmentBytes(const LinearWeight& weight) {
  return FragmentScaleOffset(weight.format, weight.n, weight.k) +
         (weight.format == WeightFormat::kFp4 ? RowTiles(weight.n) * (weight.k / 128) * 64
                                              : ScaleCount(weight));
}

inline void PackFragments(const LinearWeight& weight, uint8_t* out) {
  const WeightFormat format = weight.format;
  const int64_t n = weight.n, k = weight.k;
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t column = 0; column < k; ++column) {
      const int64_t i = row * k + column, bit = FragmentBit(format, k, row, column);
      if (format == WeightFormat::kFp8) {
        out[bit / 8] = weight.bytes[i];
      } else if (format == WeightFormat::kBf16) {
        out[bit / 8] = weight.bytes[2 * i];
        out[bit / 8 + 1] = weight.bytes[2 * i + 1];
      } else {
        const int code = weight.bytes[i / 2] >> (4 * (i % 2)) & 15;
        const uint32_t place = Fp4InUnit(static_cast<uint32_t>(code), static_cast<int>(column % 8));
        for (int j = 0; j < 4; ++j) {
          out[bit / 8 + j] = static_cast<uint8_t>(out[bit / 8 + j] | place >> (8 * j));
        }
      }
    }
  }
  uint8_t* const scales = out + FragmentScaleOffset(format, n, k);
  if (format == WeightFormat::kFp8) std::memcpy(scales, weight.scales, ScaleCount(weight));
  if (format != WeightFormat::kFp4) return;
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t column = 0; column < k; column += 32) {
      scales[Fp4ScaleByte(k, row, column)] = weight.scales[(row * k + column) / 32];
    }
  }
}

}  // namespace tandem::kernels
