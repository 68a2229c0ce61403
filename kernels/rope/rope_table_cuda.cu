// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/rope/angles.cuh"
#include "kernels/rope/rope_table.h"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 128;

// One thread an angle.
__global__ void __launch_bounds__(kThreads) RopeTableKernel(RopeTableArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= args.cos.size()) return;
  const float position = static_cast<float>(args.positions[i / (kRopeDim / 2)]);
  const Rotation r = RotationOf(__fmul_rn(position, args.frequencies[i % (kRopeDim / 2)]));
  args.cos[i] = r.cos;
  args.sin[i] = r.sin;
}

}  // namespace

void RopeTable(const RopeTableArgs& args, Stream& stream) {
  CheckRopeTable(args);
  Launch(
      {.name = "rope_table", .grid = dim3(Blocks(args.cos.size(), kThreads)), .threads = kThreads},
      stream, RopeTableKernel, args);
}

}  // namespace tandem::kernels::cuda
