// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/moe/small_gates.cuh"
#include "kernels/moe/tile_list.cuh"

namespace tandem::kernels::cuda {
namespace {

using Ring = WeightRing<true>;
constexpr int kQuantiseWarps = 4;

// h of all rows: four warps share K of an item, 16 rows of w1 and w3.
__global__ void __launch_bounds__(kGateThreads, kGateBlocks)
    ListedGatesKernel(const __grid_constant__ ListedArguments args) {
  extern __shared__ __align__(16) uint8_t shared[];
  __shared__ GateSums sums[2];
  Ring weights(shared + threadIdx.x / 32 * Ring::kRingBytes);
  // While the pairs are sorted, the shared expert's weights come to L2.
  for (const MatrixSet* set : {&args.w1[1], &args.w3[1], &args.w2[1]}) {
    PrefetchShare(*set, 0, static_cast<int>(blockIdx.x * kGateWarps + threadIdx.x / 32),
                  static_cast<int>(gridDim.x) * kGateWarps);
  }
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const Items items{args.shared_tiles, args.shared_inner / kTileRows, args.inner / kTileRows};
  const Share mine = ShareOf(items, *args.rows.tile_count, static_cast<int>(blockIdx.x),
                             static_cast<int>(gridDim.x));
  __shared__ int taken[4];  // item number k, where it is not one's own, at k % 4
  const auto take = [&] { return mine.rest + atomicAdd(args.rows.taken, 1); };
  const auto number = [&](int k) { return mine.Owns(k) ? mine.first + k : taken[k % 4]; };
  if (threadIdx.x == 0) {
    for (int k = mine.own; k < 2; ++k) taken[k] = take();
  }
  __syncthreads();
  const int groups = args.w1[1].groups, share = (groups + kGateWarps - 1) / kGateWarps;
  const int begin = min(share * (static_cast<int>(threadIdx.x) / 32), groups);
  const int end = min(begin + share, groups);
  const auto part_of = [&](const Items::Item& item, int expert) {
    return MakePart(args.w1[item.shared], args.w3[item.shared], expert, item.part, item.part, begin,
                    end);
  };
  NextParts parts(args, items, mine.count);
  int now = 0;
  const auto next = [&] { return parts(now, number, part_of); };
  weights.Fill(false, next);
  MoeTile tile = {};
  RowInput input;
  float weight = 1.0f;  // of this thread's column
  int known = -1;
  for (int i; (i = number(now)) < mine.count; ++now) {
    int later = 0;
    if (threadIdx.x == 0 && !mine.Owns(now + 2)) later = take();
    weights.Fill(true, next);
    const Items::Item item = items(i);
    if (item.tile != known) {
      known = item.tile;
      tile = ListedTile(args, known);
      const Columns columns = ListedColumns(tile, item.shared ? nullptr : args.rows.token);
      input = RowInput(args.x, args.dim, columns, 1, begin);
      const int column = static_cast<int>(threadIdx.x) / kTileRows;
      const bool weighed = !item.shared && column < tile.rows;
      weight = weighed ? args.rows.weight[tile.begin + column] : 1.0f;
    }
    const bool fp4 = args.w1[item.shared].fp4;
    Part part;
    if (!fp4) part = part_of(item, tile.expert);
    float sum[2][4] = {};
    weights.Run(args.w1[item.shared].slots_of(end - begin), fp4, part.scales, next, input, sum);
    if (threadIdx.x == 0) taken[(now + 2) % 4] = later;
    // The other sums may still be read.
    const GateValues v = SumGates(sum, fp4, sums[now % 2]);
    if (v.column >= tile.rows) continue;
    const int inner = item.shared ? args.shared_inner : args.inner;
    Bf16* const h = (item.shared ? args.shared_h : args.h) +
                    int64_t{tile.begin + v.column} * inner + item.part * kTileRows + v.row;
    *h = RoundToBf16(SwigluOf(RoundBf16(v.a), RoundBf16(v.b), weight, args.limit));
  }
}

__global__ void __launch_bounds__(32 * kQuantiseWarps)
    ListedQuantiseKernel(TensorView<const Bf16, 2> h, HalfRows codes, int warps,
                         TensorView<const Bf16, 2> shared_h, HalfRows shared_codes) {
  // The lists that the next kernel reads before its wait were there before this one could begin.
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int warp = static_cast<int>(blockIdx.x * kQuantiseWarps + threadIdx.x / 32);
  if (warp < warps) {
    QuantiseRows(h, warp, codes);
  } else {
    QuantiseRows(shared_h, warp - warps, shared_codes);
  }
}

// w2 of all rows: a warp takes whole items, 32 rows of it.
__global__ void __launch_bounds__(kGateThreads, kGateBlocks)
    ListedDownKernel(const __grid_constant__ ListedArguments args) {
  extern __shared__ __align__(16) uint8_t shared[];
  constexpr int kRows = 2 * kTileRows;
  Ring weights(shared + threadIdx.x / 32 * Ring::kRingBytes);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const Items items{args.shared_tiles, args.dim / kRows, args.dim / kRows};
  // Before the wait: the list was there before the kernel in front could begin.
  const Share mine =
      ShareOf(items, __ldcg(args.rows.tile_count), static_cast<int>(blockIdx.x) * kGateWarps + warp,
              static_cast<int>(gridDim.x) * kGateWarps);
  int taken[2];  // items number `now` and the one behind it
  int now = 0;
  const auto take = [&](int k) {
    if (mine.Owns(k)) return mine.first + k;
    return lane == 0 ? mine.rest + atomicAdd(args.rows.taken + 1, 1) : 0;
  };
  const auto known_to_all = [&](int i) { return __shfl_sync(0xFFFFFFFFu, i, 0); };
#pragma unroll
  for (int k = 0; k < 2; ++k) taken[k] = known_to_all(take(k));
  const auto part_of = [&](const Items::Item& item, int expert) {
    const MatrixSet& w2 = args.w2[item.shared];
    return MakePart(w2, w2, expert, 2 * item.part, 2 * item.part + 1, 0, w2.groups);
  };
  NextParts parts(args, items, mine.count);
  const auto number = [&](int k) { return k == now ? taken[0] : taken[1]; };
  const auto next = [&] { return parts(now, number, part_of); };
  weights.Fill(false, next);
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  MoeTile tile = {};
  RowInput input;
  int known = -1;
  for (; taken[0] < mine.count; ++now) {
    const int later = take(now + 2);
    weights.Fill(true, next);
    const Items::Item item = items(taken[0]);
    if (item.tile != known) {
      known = item.tile;
      tile = ListedTile(args, known);
      input = RowInput(item.shared ? args.shared_codes : args.codes,
                       item.shared ? args.shared_inner : args.inner, ListedColumns(tile, nullptr),
                       1, 0);
    }
    const MatrixSet& w2 = args.w2[item.shared];
    Part part;
    if (!w2.fp4) part = part_of(item, tile.expert);
    float sum[2][4] = {};
    weights.Run(w2.slots_of(w2.groups), w2.fp4, part.scales, next, input, sum);
    const float scale = w2.fp4 ? kFp4HalfScale : 1.0f;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int column = 2 * (lane % 4) + j;
      if (column >= tile.rows) continue;
      Bf16* const to = (item.shared ? args.shared_out : args.out) +
                       int64_t{tile.begin + column} * args.dim + item.part * kRows + lane / 4;
#pragma unroll
      for (int m = 0; m < 4; ++m) to[8 * m] = RoundToBf16(sum[m / 2][m % 2 * 2 + j] * scale);
    }
    taken[0] = taken[1];
    taken[1] = known_to_all(later);
  }
}

}  // namespace

void MoeExpertsListed(const MoeExpertsArgs& args, Stream& stream) {
  Scratch scratch(stream);
  const int64_t tokens = args.x.shape[0], dim = args.x.shape[1], pairs = args.experts.size();
  const int64_t experts = args.routed.shape[0], tiles = MostTiles(pairs, experts, kListedRows);
  KERNEL_CHECK_LE(args.experts.shape[1], kMostSlots);
  KERNEL_CHECK_LE(experts, kMostExperts);
  ListedArguments listed{ProductsOf(args, TakeHalfRows(tokens, dim, scratch), scratch)};
  const int64_t inner = listed.inner, shared_inner = listed.shared_inner;
  listed.rows = TakeMoeRows(pairs, tiles, scratch);
  listed.tokens = static_cast<int32_t>(tokens);
  listed.shared_tiles = static_cast<int32_t>(Blocks(tokens, kListedRows));
  listed.codes = TakeHalfRows(pairs, inner, scratch);
  listed.shared_codes = TakeHalfRows(tokens, shared_inner, scratch);
  listed.out = scratch.Take<Bf16>(pairs * dim);
  listed.shared_out = scratch.Take<Bf16>(tokens * dim);
  MoePrepare(args, kListedRows, listed.rows,
             {.x = reinterpret_cast<uint8_t*>(listed.x.codes), .factor = listed.x.scales}, stream);
  static const int gates_blocks = RingBlocks(ListedGatesKernel);
  Launch({.name = "moe listed gates",
          .grid = dim3(static_cast<unsigned>(gates_blocks * Multiprocessors())),
          .threads = kGateThreads,
          .shared_bytes = kGateRings},
         stream, ListedGatesKernel, listed);
  const int64_t warps = QuantiseWarps(pairs, inner);
  Launch({.name = "moe listed quantise",
          .grid = dim3(Blocks(warps + QuantiseWarps(tokens, shared_inner), kQuantiseWarps)),
          .threads = 32 * kQuantiseWarps},
         stream, ListedQuantiseKernel, TensorView<const Bf16, 2>{listed.h, {pairs, inner}},
         listed.codes, static_cast<int>(warps),
         TensorView<const Bf16, 2>{listed.shared_h, {tokens, shared_inner}}, listed.shared_codes);
  static const int down_blocks = RingBlocks(ListedDownKernel);
  Launch({.name = "moe listed down",
          .grid = dim3(static_cast<unsigned>(down_blocks * Multiprocessors())),
          .threads = kGateThreads,
          .shared_bytes = kGateRings},
         stream, ListedDownKernel, listed);
  MoeCombine(args, listed.rows.row_of, listed.out, listed.shared_out, stream);
}

}  // namespace tandem::kernels::cuda
