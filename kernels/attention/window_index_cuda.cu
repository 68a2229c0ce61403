// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/window_index.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 128;

// One block a token.
__global__ void __launch_bounds__(kThreads) WindowIndexKernel(WindowIndexArgs args) {
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const Batch& batch = args.batch;
  const int64_t t = blockIdx.x;
  const int32_t s = batch.sequence[t], first = batch.begin[s], slot = batch.slot[s];
  const int32_t p = batch.positions[t], p0 = batch.positions[first];
  const int32_t oldest = max(0, p - (kWindow - 1)), own = max(p0, oldest);
  for (int n = static_cast<int>(threadIdx.x); n < args.ring.shape[1]; n += kThreads) {
    const int32_t j = oldest + n;
    args.ring.row(t)[n] = j < p0 ? slot * kWindow + j % kWindow : -1;
  }
  for (int n = static_cast<int>(threadIdx.x); n < args.chunk.shape[1]; n += kThreads) {
    const int32_t j = own + n;
    args.chunk.row(t)[n] = j <= p ? first + (j - p0) : -1;
  }
}

}  // namespace

void WindowIndex(const WindowIndexArgs& args, Stream& stream) {
  CheckWindowIndex(args);
  Launch({.name = "window_index",
          .grid = dim3(static_cast<unsigned>(args.batch.tokens())),
          .threads = kThreads},
         stream, WindowIndexKernel, args);
}

}  // namespace tandem::kernels::cuda
