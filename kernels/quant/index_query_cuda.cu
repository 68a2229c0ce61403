// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/quant/index_query.h"
#include "kernels/quant/lanes.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kRowLanes = kIndexDim / kLaneValues;
constexpr int kRopeLane = (kIndexDim - kRopeDim) / kLaneValues;  // the first that is rotated

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

// Eight values a thread, 16 threads a head.
__global__ void __launch_bounds__(kThreads) IndexQueryKernel(IndexQueryArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const bool real = i * kLaneValues < args.x.size();
  const int lane = static_cast<int>(threadIdx.x) % 32, in_row = lane % kRowLanes;
  LaneValues v;
  Unpack(real ? reinterpret_cast<const uint4*>(args.x.data)[i] : make_uint4(0, 0, 0, 0), v);
  if (real && in_row >= kRopeLane) {
    const int64_t t = i / (kRowLanes * args.x.shape[1]);
    const int pair = (in_row - kRopeLane) * kLaneValues / 2;
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

}  // namespace

void IndexQuery(const IndexQueryArgs& args, Stream& stream) {
  CheckIndexQuery(args);
  Launch({.name = "index_query",
          .grid = dim3(Blocks(args.x.size(), kThreads * kLaneValues)),
          .threads = kThreads},
         stream, IndexQueryKernel, args);
}

}  // namespace tandem::kernels::cuda
