// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/common/cuda/launch.h"
#include "kernels/moe/moe_experts.h"
#include "kernels/moe/moe_experts_small.h"
#include "kernels/moe/moe_tiles.h"
#include "kernels/moe/quantised_rows.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

// The tiles of many tokens are made for the released formats. Other checkpoints (FP8 experts) are
// right as well, a few tokens at a time.
bool TilesHaveFormat(const MoeExpertsArgs& args) {
  return args.routed.shape[0] > 0 && args.routed[0].w1.format == WeightFormat::kFp4 &&
         args.shared.w1.format == WeightFormat::kFp8;
}

constexpr int kWarps = 4;

__global__ void __launch_bounds__(32 * kWarps)
    QuantiseKernel(TensorView<const Bf16, 2> x, HalfRows rows) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  QuantiseRows(x, static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32), rows);
}

void Small(const MoeExpertsArgs& args, Stream& stream) {
  const int64_t tokens = args.x.shape[0], dim = args.x.shape[1];
  const Routes routes{.experts = args.experts.data,
                      .weight = args.weight.data,
                      .tokens = static_cast<int32_t>(args.x.shape[0]),
                      .topk = static_cast<int32_t>(args.experts.shape[1]),
                      .first_expert = static_cast<int32_t>(args.first_expert),
                      .expert_count = static_cast<int32_t>(args.routed.shape[0])};
  if (tokens == 1) return MoeExpertsSmall(args, routes, {}, stream);
  Scratch scratch(stream);
  const HalfRows rows = TakeHalfRows(tokens, dim, scratch);
  Launch({.name = "moe_experts quantise",
          .grid = dim3(Blocks(QuantiseWarps(tokens, dim), kWarps)),
          .threads = 32 * kWarps},
         stream, QuantiseKernel, args.x, rows);
  MoeExpertsSmall(args, routes, rows, stream);
}

}  // namespace

void MoeExperts(const MoeExpertsArgs& args, Stream& stream) {
  CheckMoeExperts(args);
  const int64_t tokens = args.x.shape[0], topk = args.experts.shape[1];
  const int64_t slice = SmallTokens(topk);
  if (tokens > slice && TilesHaveFormat(args)) {
    // Where an expert has a few rows: on an H200 16, 10, 7 and 5 % faster at 32, 85, 128 and 160
    // tokens (of 256 experts), 1 % at 200, not at 256. Block-scaled tiles make nothing of their
    // codes, which is what costs.
    if (NativeTileMath() == TileMath::kBf16 && args.experts.size() <= 4 * args.routed.shape[0]) {
      return MoeExpertsListed(args, stream);
    }
    return MoeExpertsGrouped(args, NativeTileMath(), stream);
  }
  for (int64_t t = 0; t < tokens; t += slice) {
    const int64_t n = std::min(slice, tokens - t);
    MoeExpertsArgs part = args;
    part.x = {args.x.row(t), {n, args.x.shape[1]}};
    part.experts = {args.experts.row(t), {n, topk}};
    part.weight = {args.weight.row(t), {n, topk}};
    part.y = {args.y.row(t), {n, args.y.shape[1]}};
    Small(part, stream);
  }
}

}  // namespace tandem::kernels::cuda
