// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/quant/hadamard.h"
#include "kernels/quant/lanes.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Eight values a thread.
__global__ void __launch_bounds__(kThreads) HadamardKernel(HadamardArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const bool real = i * kLaneValues < args.x.size();
  auto* x = reinterpret_cast<uint4*>(args.x.data);
  LaneValues v;
  Unpack(real ? x[i] : make_uint4(0, 0, 0, 0), v);
  Hadamard(v, static_cast<int>(threadIdx.x) % 32);
  if (real) x[i] = ScaleAndPack(v);
}

}  // namespace

void Hadamard(const HadamardArgs& args, Stream& stream) {
  CheckHadamard(args);
  Launch({.name = "hadamard",
          .grid = dim3(Blocks(args.x.size(), kThreads * kLaneValues)),
          .threads = kThreads},
         stream, HadamardKernel, args);
}

}  // namespace tandem::kernels::cuda
