// SPDX-License-Identifier: Apache-2.0
#include "kernels/sampling/uniform.h"

namespace tandem::kernels {

uint64_t SplitMix64(uint64_t seed, uint64_t counter) {
  uint64_t z = seed + (counter + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

namespace cpu {

void Uniform(const UniformArgs& args, Stream& /*stream*/) {
  CheckUniform(args);
  for (int64_t t = 0; t < args.seed.shape[0]; ++t) {
    args.u[t] = static_cast<float>(SplitMix64(args.seed[t], args.counter[t]) >> 40) * 0x1p-24f;
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
