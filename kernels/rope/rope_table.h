// SPDX-License-Identifier: Apache-2.0
// rope_table: cosines and sines of a step's positions, computed once and used by every layer of a
// kind.
//
// Math      cos[t,k], sin[t,k] = fp32( cos θ ), fp32( sin θ ),  θ = fp32( fp32(p[t]) · f[k] )
//           plain  f_k = base^(−2k/64)
//           YaRN   f_k ← (f_k / factor)·(1−s) + f_k·s,  s = 1 − clamp((k−low)/(high−low), 0, 1),
//                  low = max(⌊corr(beta_fast)⌋, 0), high = min(⌈corr(beta_slow)⌉, 63),
//                  corr(n) = 64·ln(original / (n·2π)) / (2·ln base)
// Shapes    positions[T]  f[32]  →  cos[T,32]  sin[T,32]
// Layout    row-major, int32 and fp32.
// Numerics  cosine and sine of the fp32 θ in fp64 with full range reduction, one rounding; no
//           amplitude factor.
// Cost      260 bytes and 64 transcendental functions a token
// Roofline  T=8192 → 2 MB: launch-bound
// Source    reference/deepseek_v4.md 3.4
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct RopeScaling {
  double base = 0;                // rope_theta, or compress_rope_theta
  double factor = 1;              // 1: plain, the three below are not read
  double original_positions = 0;  // original_max_position_embeddings
  double beta_fast = 0;
  double beta_slow = 0;
};

// Fills f[32]. A host function, called once a model; the same for every backend.
void RopeFrequencies(const RopeScaling& scaling, TensorView<float, 1> frequencies);

// One position's angles, shared with the compressor: cos and sin [32].
void RopeAngles(int64_t position, const float* frequencies, float* cos, float* sin);

struct RopeTableArgs {
  TensorView<const int32_t, 1> positions;  // [T]
  TensorView<const float, 1> frequencies;  // [32]
  TensorView<float, 2> cos;                // [T, 32]
  TensorView<float, 2> sin;                // [T, 32]
};

inline void CheckRopeTable(const RopeTableArgs& args) {
  KERNEL_CHECK_EQ(args.frequencies.shape[0], kRopeDim / 2);
  KERNEL_CHECK_EQ(args.cos.shape[0], args.positions.shape[0]);
  KERNEL_CHECK_EQ(args.sin.shape[0], args.positions.shape[0]);
  KERNEL_CHECK_EQ(args.cos.shape[1], kRopeDim / 2);
  KERNEL_CHECK_EQ(args.sin.shape[1], kRopeDim / 2);
}

namespace cpu {
void RopeTable(const RopeTableArgs& args, Stream& stream);
}
namespace cuda {
void RopeTable(const RopeTableArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
