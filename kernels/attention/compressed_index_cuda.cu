// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/compressed_index.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 4 * kThreads;  // of a block

// Block (token, part of its list).
template <int kRatio>
__global__ void __launch_bounds__(kThreads) CompressedIndexKernel(CompressedIndexArgs args) {
  constexpr int kRows = kPageTokens / kRatio;
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const Batch& batch = args.batch;
  const int64_t t = blockIdx.x;
  const int visible = (batch.positions[t] + 1) / kRatio;
  const int32_t* pages = batch.pages.row(batch.sequence[t]);
  int32_t* rows = args.rows.row(t);
#pragma unroll
  for (int i = 0; i < kColumns; i += kThreads) {
    const int w = static_cast<int>(blockIdx.y) * kColumns + i + static_cast<int>(threadIdx.x);
    if (w < args.rows.shape[1]) rows[w] = w < visible ? pages[w / kRows] * kRows + w % kRows : -1;
  }
}

}  // namespace

void CompressedIndex(const CompressedIndexArgs& args, Stream& stream) {
  CheckCompressedIndex(args);
  Launch({.name = "compressed_index",
          .grid = dim3(static_cast<unsigned>(args.batch.tokens()),
                       Blocks(args.rows.shape[1], kColumns)),
          .threads = kThreads},
         stream, args.ratio == 4 ? CompressedIndexKernel<4> : CompressedIndexKernel<128>, args);
}

}  // namespace tandem::kernels::cuda
