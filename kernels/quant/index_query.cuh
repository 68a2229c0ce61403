// SPDX-License-Identifier: Apache-2.0
// index_query by blocks of any whole number of warps: eight values a thread, 16 threads a head.
#pragma once

#include <cstdint>

#include "kernels/quant/index_query.h"
#include "kernels/quant/lanes.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kIndexLanes = kIndexDim / kLaneValues;
inline constexpr int kIndexRopeLane =  // the first that is rotated
    (kIndexDim - kRopeDim) / kLaneValues;

// Rotates a lane's four pairs; products and sums are not fused.
__device__ __forceinline__ void RotatePairs(const float* cos, const float* sin, LaneValues& v) {
  const float4 c = *reinterpret_cast<const float4*>(cos);
  const float4 s = *reinterpret_cast<const float4*>(sin);
  const float cs[4] = {c.x, c.y, c.z, c.w}, ss[4] = {s.x, s.y, s.z, s.w};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const float a = v[2 * k], b = v[2 * k + 1];
    v[2 * k] = RoundBf16(__fsub_rn(__fmul_rn(a, cs[k]), __fmul_rn(b, ss[k])));
    v[2 * k + 1] = RoundBf16(__fadd_rn(__fmul_rn(a, ss[k]), __fmul_rn(b, cs[k])));
  }
}

// Block `block` of as many as cover all values.
__device__ __forceinline__ void IndexQueryBlock(const IndexQueryArgs& args, int64_t block) {
  const int64_t i = block * blockDim.x + threadIdx.x;
  const bool real = i * kLaneValues < args.x.size();
  const int lane = static_cast<int>(threadIdx.x) % 32, in_row = lane % kIndexLanes;
  LaneValues v;
  Unpack(real ? reinterpret_cast<const uint4*>(args.x.data)[i] : make_uint4(0, 0, 0, 0), v);
  if (real && in_row >= kIndexRopeLane) {
    const int64_t t = i / (kIndexLanes * args.x.shape[1]);
    const int pair = (in_row - kIndexRopeLane) * kLaneValues / 2;
    RotatePairs(args.cos.row(t) + pair, args.sin.row(t) + pair, v);
  }
  Hadamard(v, lane);
  Unpack(ScaleAndPack(v), v);  // rounded to bf16
  Ue8m0 scale;
  const uint32_t codes = QuantiseE2M1(v, &scale);
  if (!real) return;
  reinterpret_cast<uint32_t*>(args.q.data)[i] = codes;
  if (i % 4 == 0) args.scale[i / 4] = scale;
}

}  // namespace tandem::kernels::cuda
