// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/quant/act_quant.h"
#include "kernels/quant/lanes.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kGroupLanes = kActGroup / kLaneValues;

// Eight values a thread.
__global__ void __launch_bounds__(kThreads) ActQuantKernel(ActQuantArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const bool real = i * kLaneValues < args.x.size();
  const uint4 packed =
      real ? reinterpret_cast<const uint4*>(args.x.data)[i] : make_uint4(0, 0, 0, 0);
  LaneValues v;
  Unpack(packed, v);
  const Ue8m0 scale = ScaleOf(FlooredMaximum<kGroupLanes>(v, kE4M3Floor), kInverse448);
  const float inverse = InverseScale(scale);
  uint32_t codes[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float* x = v + 4 * half;
    codes[half] = PackE4M3(x[0] * inverse, x[1] * inverse) |
                  static_cast<uint32_t>(PackE4M3(x[2] * inverse, x[3] * inverse)) << 16;
    if (scale.bits == 0xFF) codes[half] = 0x7F7F7F7Fu;
  }
  if (!real) return;
  reinterpret_cast<uint2*>(args.q.data)[i] = make_uint2(codes[0], codes[1]);
  if (i % kGroupLanes == 0) args.scale[i / kGroupLanes] = scale;
}

}  // namespace

void ActQuant(const ActQuantArgs& args, Stream& stream) {
  CheckActQuant(args);
  Launch({.name = "act_quant",
          .grid = dim3(Blocks(args.x.size(), kThreads * kLaneValues)),
          .threads = kThreads},
         stream, ActQuantKernel, args);
}

}  // namespace tandem::kernels::cuda
