// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/kv_row.cuh"
#include "kernels/attention/kv_write.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kWarps = 4;

// One warp a token.
__global__ void __launch_bounds__(32 * kWarps) KvWriteKernel(KvWriteArgs args) {
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const int64_t t = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (t >= args.kv.shape[0] || args.index[t] < 0) return;
  WriteRow(LoadLane(args.kv.row(t)), args.rows, args.index[t]);
}

}  // namespace

void KvWrite(const KvWriteArgs& args, Stream& stream) {
  CheckKvWrite(args);
  Launch(
      {.name = "kv_write", .grid = dim3(Blocks(args.kv.shape[0], kWarps)), .threads = 32 * kWarps},
      stream, KvWriteKernel, args);
}

}  // namespace tandem::kernels::cuda
