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
  Ue8m0 scale;
  const uint2 codes = QuantiseE4M3(v, &scale);
  if (!real) return;
  reinterpret_cast<uint2*>(args.q.data)[i] = codes;
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
