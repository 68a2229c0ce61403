// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/moe/gate.cuh"
#include "kernels/moe/gate_score.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 128;

// A block a token: all threads make scores, the first warp chooses.
__global__ void __launch_bounds__(kThreads) GateScoreKernel(const GateScoreArgs args) {
  __shared__ float scores[kMaxExperts];
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const int64_t t = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x);
  const int count = static_cast<int>(args.logits.shape[1]);
  const int topk = static_cast<int>(args.experts.shape[1]);
  for (int e = lane; e < count; e += kThreads) scores[e] = ScoreOf(args.logits.row(t)[e]);
  __syncthreads();
  if (threadIdx.x >= 32) return;
  const Choice choice =
      ChooseByScore([&](int e) { return scores[e]; }, args.bias.data, count, topk);
  const float weight =
      WeightOf(lane < topk ? choice.score : 0.0f, topk, args.routed_scaling_factor);
  if (lane >= topk) return;
  args.experts.row(t)[lane] = choice.expert;
  args.weight.row(t)[lane] = weight;
}

}  // namespace

void GateScore(const GateScoreArgs& args, Stream& stream) {
  CheckGateScore(args);
  KERNEL_CHECK_LE(args.logits.shape[1], kMaxExperts);
  KERNEL_CHECK_LE(args.experts.shape[1], kMaxTopk);
  Launch({.name = "gate_score",
          .grid = dim3(static_cast<unsigned>(args.logits.shape[0])),
          .threads = kThreads},
         stream, GateScoreKernel, args);
}

}  // namespace tandem::kernels::cuda
