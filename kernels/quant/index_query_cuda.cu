// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/quant/index_query.cuh"
#include "kernels/quant/index_query.h"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) IndexQueryKernel(IndexQueryArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  IndexQueryBlock(args, blockIdx.x);
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
