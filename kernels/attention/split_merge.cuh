// SPDX-License-Identifier: Apache-2.0
// The merge of splits that no cluster holds, in a launch of its own. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/attention_jobs.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kMostSplits = 64;  // what the merge's weights have room for
inline constexpr int kMergeThreads = kHeadDim / 4;

// One block a head: the splits' sums under one maximum, then the sink, in order of the splits.
// kAhead: splits whose sums are asked for before their weights are known.
template <int kAhead>
__global__ void __launch_bounds__(kMergeThreads) MergeKernel(const __grid_constant__ Parameters p) {
  __shared__ float weights[kMostSplits];
  __shared__ float inverse;
  ptx::GridDependencyLaunch();  // the next launch's weights are on their way while heads attend
  ptx::GridDependencyWait();
  const int64_t row = blockIdx.x;
  const float4* sums =
      reinterpret_cast<const float4*>(p.sums + row * p.jobs.splits * kHeadDim) + threadIdx.x;
  float4 ahead[kAhead];
#pragma unroll
  for (int split = 0; split < kAhead; ++split) {
    if (split < p.jobs.splits) ahead[split] = sums[split * kMergeThreads];
  }
  if (threadIdx.x < 32) {
    SplitStats stats[kMostSplits / 32];
    float most = kNoScore, total = 0;
#pragma unroll
    for (int i = 0; i < kMostSplits / 32; ++i) {
      const int split = static_cast<int>(threadIdx.x) + 32 * i;
      stats[i] =
          split < p.jobs.splits ? p.stats[row * p.jobs.splits + split] : SplitStats{kNoScore, 0};
      most = fmaxf(most, stats[i].most);
    }
    most = WarpReduce(most, Max());
#pragma unroll
    for (int i = 0; i < kMostSplits / 32; ++i) {
      const float weight = stats[i].most == kNoScore ? 0 : Exp2(stats[i].most - most);
      weights[threadIdx.x + 32 * i] = weight;
      total += weight * stats[i].total;
    }
    total = WarpReduce(total, Sum());
    if (threadIdx.x == 0) {
      const float sink = Exp2(p.sink[row % p.heads] * kLog2E - most);
      inverse = most == kNoScore ? 0 : 1 / (total + sink);
      if (p.lse != nullptr) p.lse[row] = Lse(most, total);
    }
  }
  __syncthreads();
  float4 sum = make_float4(0, 0, 0, 0);
  const auto add = [&](float weight, const float4& v) {
    sum.x += weight * v.x;
    sum.y += weight * v.y;
    sum.z += weight * v.z;
    sum.w += weight * v.w;
  };
#pragma unroll
  for (int split = 0; split < kAhead; ++split) {
    if (split < p.jobs.splits) add(weights[split], ahead[split]);
  }
#pragma unroll 8
  for (int split = kAhead; split < p.jobs.splits; ++split) {
    add(weights[split], sums[split * kMergeThreads]);
  }
  uint2 out = make_uint2(PackBf16(sum.x * inverse, sum.y * inverse),
                         PackBf16(sum.z * inverse, sum.w * inverse));
  TurnBack(out, AnglesOf(p, static_cast<int>(row / p.heads)), 4 * static_cast<int>(threadIdx.x));
  reinterpret_cast<uint2*>(p.out + row * kHeadDim)[threadIdx.x] = out;
}

}  // namespace tandem::kernels::cuda
