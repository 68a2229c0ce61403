// SPDX-License-Identifier: Apache-2.0
#include "kernels/sampling/uniform.h"

namespace tandem::kernels {

namespace cpu {

void Uniform(const UniformArgs& args, Stream& /*stream*/) {
  CheckUniform(args);
  for (int64_t t = 0; t < args.seed.shape[0]; ++t) {
    args.u[t] = static_cast<float>(SplitMix64(args.seed[t], args.counter[t]) >> 40) * 0x1p-24f;
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
