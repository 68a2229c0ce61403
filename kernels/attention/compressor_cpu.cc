// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention/compressor.h"
#include "kernels/attention/compressor_step.h"

namespace tandem::kernels {
namespace {

void Pool(const PoolInput& input, float* v) {
  for (int64_t j = 0; j < input.dim; ++j) {
    double most = -std::numeric_limits<double>::infinity(), den = 0, sum = 0;
    for (int64_t i = 0; i < input.slots; ++i) {
      most = std::max<double>(most, input.g[input.offset(i) + j]);
    }
    for (int64_t i = 0; i < input.slots; ++i) {
      const double a = std::exp(input.g[input.offset(i) + j] - most);
      den += a;
      sum += a * input.u[input.offset(i) + j];
    }
    v[j] = static_cast<float>(sum / den);
  }
}

}  // namespace

namespace cpu {

void Compressor(const CompressorArgs& args, Stream& stream) {
  CompressorWith(Pool, args, stream);
}

}  // namespace cpu

}  // namespace tandem::kernels
