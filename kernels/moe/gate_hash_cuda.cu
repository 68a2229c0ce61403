// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/moe/gate.cuh"
#include "kernels/moe/gate_hash.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kWarps = 4;

// A warp a token.
__global__ void __launch_bounds__(32 * kWarps) GateHashKernel(const GateHashArgs args) {
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t t = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (t >= args.logits.shape[0]) return;
  const int topk = static_cast<int>(args.experts.shape[1]);
  const int expert = TableExpert(args.tid2eid, args.tokens[t], args.logits.shape[1]);
  const float score = expert >= 0 ? ScoreOf(args.logits.row(t)[expert]) : 0.0f;
  const float weight = WeightOf(score, topk, args.routed_scaling_factor);
  if (lane >= topk) return;
  args.experts.row(t)[lane] = expert;
  args.weight.row(t)[lane] = expert >= 0 ? weight : 0.0f;
}

}  // namespace

void GateHash(const GateHashArgs& args, Stream& stream) {
  CheckGateHash(args);
  KERNEL_CHECK_LE(args.experts.shape[1], kMaxTopk);
  Launch({.name = "gate_hash",
          .grid = dim3(Blocks(args.logits.shape[0], kWarps)),
          .threads = 32 * kWarps},
         stream, GateHashKernel, args);
}

}  // namespace tandem::kernels::cuda
