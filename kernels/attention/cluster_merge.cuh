// SPDX-License-Identifier: Apache-2.0
// How the blocks of a cluster, which have a part of a token's keys each, join what they have
// summed: all tell all the maxima and totals of their heads; each multiplies its sums by its weight
// and sends every other block that one's share of the dims, where its tiles stood; each adds what
// came, in order of the blocks, and writes its dims. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/cluster.cuh"
#include "kernels/attention/head_tiles.cuh"

namespace tandem::kernels::cuda {

struct SplitStats {
  float most;  // -inf: the split has no key
  float total;
};

template <int kM, int kBlocks>
struct ClusterShare {
  SplitStats stats[kBlocks][16 * kM];
  float weights[16 * kM];  // of this block's sums
  float inverse[16 * kM];
};

// Where a block's warps' slices of 64 dims go: as many to each block.
template <int kM, int kBlocks>
struct Slices {
  static constexpr int kEach = kHeadWarps / kBlocks;  // of a block
  static constexpr int kFragments = 8 * kM;           // of 32 times 16 bytes
  static constexpr int kBytes = 512 * kFragments;
  static_assert(kBlocks * kEach * kBytes <= kSlots * kTileBytes);
};

// A head's total under the highest maximum of all blocks, and this block's weight.
struct Joined {
  float most, total, weight;
};
template <int kM, int kBlocks>
__device__ __forceinline__ Joined Join(const ClusterShare<kM, kBlocks>& share, int head) {
  Joined all = {kNoScore, 0, 0};
#pragma unroll
  for (int i = 0; i < kBlocks; ++i) all.most = fmaxf(all.most, share.stats[i][head].most);
#pragma unroll
  for (int i = 0; i < kBlocks; ++i) {
    const SplitStats stats = share.stats[i][head];
    const float weight = stats.most == kNoScore ? 0 : Exp2(stats.most - all.most);
    all.total += weight * stats.total;
    if (i == static_cast<int>(ClusterRank())) all.weight = weight;
  }
  return all;
}

// Adds this block's slices and writes them to out[heads, 512]. `thread` is 0..255.
template <int kM, int kBlocks>
__device__ __forceinline__ void AddSlices(const uint8_t* received, const float* inverse, int thread,
                                          int heads, Bf16* out, const OutAngles& angles) {
  using All = Slices<kM, kBlocks>;
  const int lane = thread % 32;
#pragma unroll 1  // as fast as unrolled
  for (int n = thread / 32; n < All::kEach * All::kFragments; n += kHeadWarps) {
    const int slice = static_cast<int>(ClusterRank()) * All::kEach + n / All::kFragments;
    const int fragment = n % All::kFragments, row = 8 * (fragment / 4) + lane / 4;
    float4 sum = {};
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      const float4 v = *reinterpret_cast<const float4*>(
          received + block * All::kEach * All::kBytes + 512 * n + 16 * lane);
      sum.x += v.x;
      sum.y += v.y;
      sum.z += v.z;
      sum.w += v.w;
    }
    if (row >= heads) continue;
    const float scale = inverse[row];
    uint2 v =
        make_uint2(PackBf16(sum.x * scale, sum.y * scale), PackBf16(sum.z * scale, sum.w * scale));
    const int dim = kValueDims * slice + 16 * (fragment % 4) + 4 * (lane % 4);
    TurnBack(v, angles, dim);
    *reinterpret_cast<uint2*>(out + row * kHeadDim + dim) = v;
  }
}

}  // namespace tandem::kernels::cuda
