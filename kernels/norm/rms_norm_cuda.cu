// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/norm/rms_norm.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// One block a token.
__global__ void __launch_bounds__(kThreads) RmsNormKernel(RmsNormArgs args) {
  ptx::GridDependencyWait();
  const int64_t t = blockIdx.x, dim = args.x.shape[1];
  const Bf16* x = args.x.row(t);
  double sum = 0;
  for (int64_t d = threadIdx.x; d < dim; d += kThreads) {
    const double v = ToFloat(x[d]);
    sum += v * v;
  }
  sum = BlockReduce(sum, Sum());
  const float r = static_cast<float>(1.0 / sqrt(sum / static_cast<double>(dim) + args.eps));
  for (int64_t d = threadIdx.x; d < dim; d += kThreads) {
    args.y.row(t)[d] = ToBf16(ToFloat(args.weight[d]) * (ToFloat(x[d]) * r));
  }
}

}  // namespace

void RmsNorm(const RmsNormArgs& args, Stream& stream) {
  CheckRmsNorm(args);
  Launch({.name = "rms_norm", .grid = dim3(Blocks(args.x.shape[0], 1)), .threads = kThreads},
         stream, RmsNormKernel, args);
}

}  // namespace tandem::kernels::cuda
