// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/window_commit.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kChunks = kKvRowDataBytes / 16;

// One warp a token.
__global__ void __launch_bounds__(32 * kWarps) WindowCommitKernel(WindowCommitArgs args) {
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const Batch& batch = args.batch;
  const int64_t t = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (t >= batch.tokens()) return;
  const int32_t s = batch.sequence[t];
  if (t < batch.begin[s + 1] - kWindow) return;
  const int64_t row = int64_t{batch.slot[s]} * kWindow + batch.positions[t] % kWindow;
  const auto* from = reinterpret_cast<const uint4*>(args.chunk.data_of(t));
  auto* to = reinterpret_cast<uint4*>(args.ring.data_of(row));
  const int lane = static_cast<int>(threadIdx.x) % 32;
  to[lane] = from[lane];
  if (lane < kChunks - 32) to[lane + 32] = from[lane + 32];
  if (lane == 31) {
    *reinterpret_cast<uint2*>(args.ring.scales_of(row)) =
        *reinterpret_cast<const uint2*>(args.chunk.scales_of(t));
  }
}

}  // namespace

void WindowCommit(const WindowCommitArgs& args, Stream& stream) {
  CheckWindowCommit(args);
  Launch({.name = "window_commit",
          .grid = dim3(Blocks(args.batch.tokens(), kWarps)),
          .threads = 32 * kWarps},
         stream, WindowCommitKernel, args);
}

}  // namespace tandem::kernels::cuda
