// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/gemm/linear_weight.h"
#include "kernels/gemm/panels.h"

namespace tandem::kernels {
namespace {

// Scales for which every value of the format is zero or a normal bf16.
struct ScaleRange {
  uint8_t least;
  uint8_t most;
};
ScaleRange ExactScales(WeightFormat format) {
  // E4M3 spans 2^-9 .. 448, E2M1 2^-1 .. 6; bf16 is normal from 2^-126 and finite below 2^128.
  return format == WeightFormat::kFp8 ? ScaleRange{10, 246} : ScaleRange{2, 252};
}

bool FitsBf16(const LinearWeight& weight) {
  if (weight.format == WeightFormat::kBf16) return true;
  const ScaleRange range = ExactScales(weight.format);
  for (int64_t row = 0; row < ScaleRows(weight); ++row) {
    const uint8_t* const scales = ScaleRowAt(weight, row);
    for (int64_t i = 0; i < ScaleRowBytes(weight); ++i) {
      if (scales[i] < range.least || scales[i] > range.most) return false;
    }
  }
  return true;
}

}  // namespace

namespace fast {

int64_t PreparedBytes(const LinearWeight& weight) {
  CheckLinearWeight(weight);
  const int64_t panels = (weight.n + kPanelRows - 1) / kPanelRows;
  return FitsBf16(weight) ? panels * PanelBytes(weight.k) : 0;
}

void PrepareLinear(LinearWeight* weight, std::span<uint8_t> storage) {
  const int64_t bytes = PreparedBytes(*weight);
  if (bytes == 0) return;
  KERNEL_CHECK_GE(static_cast<int64_t>(storage.size()), bytes);
  KERNEL_CHECK_MULTIPLE(reinterpret_cast<uintptr_t>(storage.data()), uintptr_t{64});
  std::fill_n(storage.data(), bytes, uint8_t{0});
  std::vector<float> values(weight->k);
  for (int64_t n = 0; n < weight->n; ++n) {
    ReadWeightRow(*weight, n, values.data());
    const int64_t lane = n % kPanelRows;
    // Word lane mod 8, low half for the first eight outputs (little endian).
    uint8_t* out =
        storage.data() + n / kPanelRows * PanelBytes(weight->k) + lane % 8 * 4 + lane / 8 * 2;
    for (int64_t k = 0; k < weight->k; ++k) {
      const Bf16 value = ToBf16(values[k]);
      std::memcpy(out + 32 * k, &value, sizeof(value));
    }
  }
  weight->prepared = storage.data();
}

}  // namespace fast

}  // namespace tandem::kernels
