// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/moe/gate.cuh"
#include "kernels/moe/gate_score.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kWarps = 4;

// A warp a token.
__global__ void __launch_bounds__(32 * kWarps) GateScoreKernel(const GateScoreArgs args) {
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t t = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (t >= args.logits.shape[0]) return;
  const float* logits = args.logits.row(t);
  const int count = static_cast<int>(args.logits.shape[1]);
  const int topk = static_cast<int>(args.experts.shape[1]);
  uint32_t key[kMaxExperts / 32];
#pragma unroll
  for (int i = 0; i < kMaxExperts / 32; ++i) {
    const int e = 32 * i + lane;
    key[i] = e < count ? OrderedKey(ScoreOf(logits[e]) + args.bias[e]) : 0;
  }
  const int expert = ChooseLargest(key, topk);
  const float weight =
      WeightOf(lane < topk ? ScoreOf(logits[expert]) : 0.0f, topk, args.routed_scaling_factor);
  if (lane >= topk) return;
  args.experts.row(t)[lane] = expert;
  args.weight.row(t)[lane] = weight;
}

}  // namespace

void GateScore(const GateScoreArgs& args, Stream& stream) {
  CheckGateScore(args);
  KERNEL_CHECK_LE(args.logits.shape[1], kMaxExperts);
  KERNEL_CHECK_LE(args.experts.shape[1], kMaxTopk);
  Launch({.name = "gate_score",
          .grid = dim3(Blocks(args.logits.shape[0], kWarps)),
          .threads = 32 * kWarps},
         stream, GateScoreKernel, args);
}

}  // namespace tandem::kernels::cuda
