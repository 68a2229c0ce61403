// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/quant/fp4_quant.h"
#include "kernels/quant/lanes.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kGroupLanes = kIndexGroup / kLaneValues;

// Eight values a thread.
__global__ void __launch_bounds__(kThreads) Fp4QuantKernel(Fp4QuantArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const bool real = i * kLaneValues < args.x.size();
  LaneValues v;
  Unpack(real ? reinterpret_cast<const uint4*>(args.x.data)[i] : make_uint4(0, 0, 0, 0), v);
  Ue8m0 scale;
  const uint32_t codes = QuantiseE2M1(v, &scale);
  if (!real) return;
  reinterpret_cast<uint32_t*>(args.q.data)[i] = codes;
  if (i % kGroupLanes == 0) args.scale[i / kGroupLanes] = scale;
}

}  // namespace

void Fp4Quant(const Fp4QuantArgs& args, Stream& stream) {
  CheckFp4Quant(args);
  Launch({.name = "fp4_quant",
          .grid = dim3(Blocks(args.x.size(), kThreads * kLaneValues)),
          .threads = kThreads},
         stream, Fp4QuantKernel, args);
}

}  // namespace tandem::kernels::cuda
