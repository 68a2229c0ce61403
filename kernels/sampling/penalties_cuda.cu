// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/sampling/penalties.h"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr unsigned kBlocksPerRow = 4;

// A row's tokens are distinct, so its entries are independent. Grid (kBlocksPerRow, T).
__global__ void __launch_bounds__(kThreads) PenaltiesKernel(PenaltiesArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t t = blockIdx.y;
  const float repetition = args.repetition[t], presence = args.presence[t];
  const float frequency = args.frequency[t];
  const int32_t end = args.begin[t + 1];
  for (int32_t i = args.begin[t] + static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
       i < end; i += static_cast<int32_t>(kBlocksPerRow) * kThreads) {
    float* logit = args.logits.row(t) + args.token[i];
    float l = *logit;
    l = l > 0 ? __fdiv_rn(l, repetition) : __fmul_rn(l, repetition);
    if (args.count[i] > 0) {
      l = __fsub_rn(__fsub_rn(l, __fmul_rn(frequency, static_cast<float>(args.count[i]))),
                    presence);
    }
    *logit = l;
  }
}

}  // namespace

void Penalties(const PenaltiesArgs& args, Stream& stream) {
  CheckPenalties(args);
  Launch({.name = "penalties",
          .grid = dim3(kBlocksPerRow, static_cast<unsigned>(args.logits.shape[0])),
          .threads = kThreads},
         stream, PenaltiesKernel, args);
}

}  // namespace tandem::kernels::cuda
