// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kernels/attention/compressor.h"
#include "kernels/attention/compressor_step.h"

namespace tandem::kernels {
namespace {

// Slots outside, dims inside, so that the loops over dims vectorise; a dim's sums run over
// ascending slots.
void Pool(const PoolInput& input, float* v) {
  float most[kHeadDim], den[kHeadDim];
  const int64_t dim = input.dim;
  std::copy_n(input.g + input.offset(0), dim, most);
  for (int64_t i = 1; i < input.slots; ++i) {
    const float* g = input.g + input.offset(i);
    for (int64_t j = 0; j < dim; ++j) most[j] = g[j] > most[j] ? g[j] : most[j];
  }
  std::fill_n(v, dim, 0.0f);
  std::fill_n(den, dim, 0.0f);
  for (int64_t i = 0; i < input.slots; ++i) {
    const float* g = input.g + input.offset(i);
    const float* u = input.u + input.offset(i);
    for (int64_t j = 0; j < dim; ++j) {
      const float a = std::exp(g[j] - most[j]);
      den[j] += a;
      v[j] += a * u[j];
    }
  }
  for (int64_t j = 0; j < dim; ++j) v[j] /= den[j];
}

}  // namespace

namespace fast {

void Compressor(const CompressorArgs& args, Stream& stream) {
  CompressorWith(Pool, args, stream);
}

}  // namespace fast

}  // namespace tandem::kernels
