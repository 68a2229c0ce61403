// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/sampling/uniform.h"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) UniformKernel(UniformArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t t = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (t >= args.seed.shape[0]) return;
  args.u[t] = static_cast<float>(SplitMix64(args.seed[t], args.counter[t]) >> 40) * 0x1p-24f;
}

}  // namespace

void Uniform(const UniformArgs& args, Stream& stream) {
  CheckUniform(args);
  Launch(
      {.name = "uniform", .grid = dim3(Blocks(args.seed.shape[0], kThreads)), .threads = kThreads},
      stream, UniformKernel, args);
}

}  // namespace tandem::kernels::cuda
