// SPDX-License-Identifier: Apache-2.0
// What the compressor's backends share: all but the pooling of one row.
// Internal to kernels/attention. Source: reference/deepseek_v4.md 3.6.
#pragma once

#include <cstdint>

#include "kernels/attention/compressor.h"

namespace tandem::kernels {

// The slots that make one row: slot i's u and g are at u + offset(i) and g + offset(i), d values
// each.
struct PoolInput {
  const float* u;
  const float* g;
  int64_t slots;   // 8 or 128
  int64_t dim;     // d
  int64_t stride;  // c·d
  // Of ratio 4 the first four slots give their first half, the others their second.
  int64_t offset(int64_t i) const { return i * stride + (stride > dim && i >= 4 ? dim : 0); }
};

// v[j] = Σ_i softmax_i(g_i[j])·u_i[j]
using PoolFunction = void (*)(const PoolInput& input, float* v);

void CompressorWith(PoolFunction pool, const CompressorArgs& args, Stream& stream);

}  // namespace tandem::kernels
