// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_mix.h"
#include "kernels/hc/hc_pre.h"

namespace tandem::kernels {

namespace cpu {

void HcMixes(const Bf16* f, TensorView<const float, 2> fn, float r, float* mixes) {
  for (int64_t k = 0; k < fn.shape[0]; ++k) {
    double sum = 0;
    for (int64_t j = 0; j < fn.shape[1]; ++j) {
      sum += static_cast<double>(ToFloat(f[j])) * fn.row(k)[j];
    }
    mixes[k] = static_cast<float>(sum) * r;
  }
}

void HcPre(const HcPreArgs& args, Stream& /*stream*/) {
  HcPreWith(HcMixes, args);
}

}  // namespace cpu

}  // namespace tandem::kernels
