// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_mix.h"
#include "kernels/hc/hc_pre.h"

namespace tandem::kernels {
namespace fast {

void HcMixes(const Bf16* f, TensorView<const float, 2> fn, float r, float* mixes) {
  constexpr int kLanes = 16;
  const int64_t whole = fn.shape[1] / kLanes * kLanes;
  for (int64_t k = 0; k < fn.shape[0]; ++k) {
    const float* row = fn.row(k);
    float lanes[kLanes] = {};
    for (int64_t j = 0; j < whole; j += kLanes) {
      for (int i = 0; i < kLanes; ++i) lanes[i] += ToFloat(f[j + i]) * row[j + i];
    }
    for (int64_t j = whole; j < fn.shape[1]; ++j) lanes[j - whole] += ToFloat(f[j]) * row[j];
    for (int width = kLanes / 2; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    }
    mixes[k] = lanes[0] * r;
  }
}

void HcPre(const HcPreArgs& args, Stream& /*stream*/) {
  HcPreWith(HcMixes, args);
}

}  // namespace fast

}  // namespace tandem::kernels
