// SPDX-License-Identifier: Apache-2.0
// What sparse_attention's kernels are told, and which heads of which token a job is. Internal to
// kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/cluster_merge.cuh"
#include "kernels/attention/head_tiles.cuh"
#include "kernels/attention/key_rows.cuh"

namespace tandem::kernels::cuda {

inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;

struct Parameters {
  const Bf16* q;
  Bf16* out;
  float* lse;  // may be null
  const float* sink;
  const float* cos;  // null: not turned back
  const float* sin;
  DeviceKeySource sources[kMaxKeySources];
  float scale;  // times log2 e
  int32_t heads;
  KeyJobs jobs;
  float* sums;        // [T, H, splits, 512]; null: one split, which writes `out` itself
  SplitStats* stats;  // [T, H, splits]
};

struct Job {
  int t;
  int head0;
  int heads;
  int split;
};
template <int kM>
__device__ __forceinline__ Job JobOf(const Parameters& p, int job) {
  const auto splits = static_cast<uint32_t>(p.jobs.splits),
             groups = static_cast<uint32_t>(p.jobs.groups);
  const uint32_t unit = static_cast<uint32_t>(job) / splits, split = job - unit * splits;
  const uint32_t t = unit / groups;
  const int head0 = static_cast<int>(unit - t * groups) * 16 * kM;
  return {static_cast<int>(t), head0, min(16 * kM, p.heads - head0), static_cast<int>(split)};
}

// By which a token's outputs are turned back.
__device__ __forceinline__ OutAngles AnglesOf(const Parameters& p, int t) {
  return {p.cos, p.sin, t * (kRopeDim / 2)};
}

__device__ __forceinline__ float Lse(float most, float total) {
  return most == kNoScore ? kNoScore : (most + log2f(total)) * kLn2;
}

}  // namespace tandem::kernels::cuda
