// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/gemm/fragment_order.h"
#include "kernels/moe/gate.cuh"
#include "kernels/moe/moe_experts_small.h"
#include "kernels/moe/moe_layer.h"
#include "kernels/moe/moe_layer_parts.h"
#include "kernels/moe/quantised_rows.cuh"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/load.cuh"
#include "kernels/ptx/mma.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kWarps = 16;
constexpr int kColumns = 8;                 // tokens of a product
constexpr int kTilesAhead = 8;              // tiles of 32 columns whose weights are under way
constexpr int kGroupTiles = 4;              // a sum from zero: 128 products
constexpr int kTileColumn = kTileRows + 4;  // of a partial sum: eight lanes, eight bank groups

struct Arguments {
  MoeLayerArgs layer;
  int32_t score_blocks = 0;
  float* scores = nullptr;  // [T, E]
  HalfRows rows;
};

// One warp's part of K of 16 experts' logits: loads first, then, after the wait, the products.
__device__ __forceinline__ void RouterSums(const MoeLayerArgs& args, float (&sum)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int tokens = static_cast<int>(args.x.shape[0]), dim = static_cast<int>(args.x.shape[1]);
  // The warps share K in whole groups of 128.
  const int groups = (dim + kTileColumns * kGroupTiles - 1) / (kTileColumns * kGroupTiles);
  const int share = (groups + kWarps - 1) / kWarps * kGroupTiles;
  const int tiles = (dim + kTileColumns - 1) / kTileColumns;
  const int begin = min(share * warp, tiles), end = min(begin + share, tiles);
  const uint8_t* codes =
      args.router.prepared +
      int64_t{blockIdx.x} * LoadsPerRow(WeightFormat::kBf16, dim) * kWarpLoadBytes +
      lane * kLoadBytes;
  const int token = min(lane / 4, tokens - 1), column = 8 * (lane % 4);
  float part[4] = {};
  bool waited = false;
  for (int first = begin; first < end; first += kTilesAhead) {
    uint4 a[kTilesAhead][2];
#pragma unroll
    for (int i = 0; i < kTilesAhead; ++i) {
      if (first + i >= end) break;
      const uint8_t* at = codes + int64_t{first + i} * 2 * kWarpLoadBytes;
      a[i][0] = ptx::LoadStream(at);
      a[i][1] = ptx::LoadStream(at + kWarpLoadBytes);
    }
    if (!waited) ptx::GridDependencyWait();
    waited = true;
    uint4 x[kTilesAhead];
#pragma unroll
    for (int i = 0; i < kTilesAhead; ++i) {
      if (first + i >= end) break;
      x[i] =
          *reinterpret_cast<const uint4*>(args.x.row(token) + kTileColumns * (first + i) + column);
    }
#pragma unroll
    for (int i = 0; i < kTilesAhead; ++i) {
      if (first + i >= end) break;
      const uint4 &w0 = a[i][0], &w1 = a[i][1];
      ptx::MmaBf16(part, {w0.x, w0.z, w0.y, w0.w}, {x[i].x, x[i].y});
      ptx::MmaBf16(part, {w1.x, w1.z, w1.y, w1.w}, {x[i].z, x[i].w});
      if (i % kGroupTiles == kGroupTiles - 1 || first + i + 1 == end) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          sum[j] += part[j];
          part[j] = 0.0f;
        }
      }
    }
  }
  if (!waited) ptx::GridDependencyWait();
}

// Sums the warps' parts in order; scores to memory.
__device__ __forceinline__ void RouterScores(const Arguments& args, const float (&sum)[4]) {
  __shared__ float part[kWarps][kColumns * kTileColumn];
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, c = lane % 4;
  float* at = part[threadIdx.x / 32] + 2 * c * kTileColumn + g;
  at[0] = sum[0];
  at[kTileColumn] = sum[1];
  at[8] = sum[2];
  at[kTileColumn + 8] = sum[3];
  __syncthreads();
  const int64_t count = args.layer.router.n;
  const int t = static_cast<int>(threadIdx.x) / kTileRows;
  const int row = static_cast<int>(threadIdx.x) % kTileRows;
  const int64_t e = int64_t{blockIdx.x} * kTileRows + row;
  if (t >= args.layer.x.shape[0] || e >= count) return;
  float logit = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) logit += part[w][t * kTileColumn + row];
  args.scores[t * count + e] = ScoreOf(logit);
}

// The first blocks make the scores of 16 experts each, the others quantise x.
__global__ void __launch_bounds__(32 * kWarps)
    RouterKernel(const __grid_constant__ Arguments args) {
  ptx::GridDependencyLaunch();
  const int other = static_cast<int>(blockIdx.x) - args.score_blocks;
  if (other >= 0) {
    ptx::GridDependencyWait();
    QuantiseRows(args.layer.x, other * kWarps + static_cast<int>(threadIdx.x) / 32, args.rows);
    return;
  }
  float sum[4] = {};
  RouterSums(args.layer, sum);
  RouterScores(args, sum);
}

void LayerSmall(const MoeLayerArgs& args, Stream& stream) {
  const int64_t tokens = args.x.shape[0], count = args.router.n;
  const bool hash = args.tid2eid.data != nullptr;
  Scratch scratch(stream);
  const int64_t dim = args.x.shape[1];
  const auto score_blocks = static_cast<int32_t>(Blocks(count, kTileRows));
  // One token is quantised where it is wanted (MoeExpertsSmall).
  HalfRows rows;
  if (tokens > 1) rows = TakeHalfRows(tokens, dim, scratch);
  const Arguments arguments{.layer = args,
                            .score_blocks = score_blocks,
                            .scores = scratch.Take<float>(tokens * count),
                            .rows = rows};
  const unsigned quantise_blocks = tokens > 1 ? Blocks(QuantiseWarps(tokens, dim), kWarps) : 0;
  Launch({.name = "moe_layer router",
          .grid = dim3(static_cast<unsigned>(score_blocks) + quantise_blocks),
          .threads = 32 * kWarps},
         stream, RouterKernel, arguments);
  const Routes routes{.scores = arguments.scores,
                      .bias = hash ? nullptr : args.bias.data,
                      .token_ids = args.tokens.data,
                      .tid2eid = args.tid2eid,
                      .score_count = static_cast<int32_t>(count),
                      .routed_scaling_factor = args.routed_scaling_factor,
                      .tokens = static_cast<int32_t>(tokens),
                      .topk = static_cast<int32_t>(args.topk),
                      .first_expert = static_cast<int32_t>(args.first_expert),
                      .expert_count = static_cast<int32_t>(args.routed.shape[0])};
  const MoeExpertsArgs sum =
      ExpertsOf(args, {nullptr, {tokens, args.topk}}, {nullptr, {tokens, args.topk}});
  CheckMoeExperts(sum);
  MoeExpertsSmall(sum, routes, arguments.rows, stream);
}

}  // namespace

void MoeLayer(const MoeLayerArgs& args, Stream& stream) {
  CheckMoeLayer(args);
  KERNEL_CHECK_LE(args.router.n, kMaxExperts);
  KERNEL_CHECK_LE(args.topk, kMaxTopk);
  KERNEL_CHECK_MULTIPLE(args.x.shape[1], kTileColumns);
  if (args.x.shape[0] > SmallTokens(args.topk)) {
    return MoeLayerWith(
        {.linear = Bf16Linear, .score = GateScore, .hash = GateHash, .experts = MoeExperts}, args,
        stream);
  }
  if (args.x.shape[0] == 0) return;
  KERNEL_CHECK(args.router.prepared != nullptr);
  LayerSmall(args, stream);
}

}  // namespace tandem::kernels::cuda
