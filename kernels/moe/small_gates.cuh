// SPDX-License-Identifier: Apache-2.0
// The first kernel of moe_experts for few tokens (small_arguments.cuh): gates of all pairs.
// Internal to kernels/moe.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/moe/plan.cuh"
#include "kernels/moe/row_input.cuh"
#include "kernels/moe/small_arguments.cuh"
#include "kernels/moe/swiglu.cuh"
#include "kernels/moe/tile_pair.cuh"
#include "kernels/moe/weight_ring.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kGateWarps = 4;
inline constexpr int kGateThreads = 32 * kGateWarps;
inline constexpr int kGateBlocks = 4;  // a multiprocessor
// Of a partial sum: eight lanes, eight bank groups.
inline constexpr int kTileColumn = kTileRows + 4;
static_assert(kGateThreads == kColumns * kTileRows);

inline constexpr int64_t kGateRings = int64_t{kGateWarps} * WeightRing<>::kRingBytes;

// How many blocks with a ring each a multiprocessor holds: SM120's shared memory is for two.
template <typename Kernel>
int RingBlocks(Kernel* kernel) {
  int blocks = 0;
  KERNEL_CHECK_EQ(
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kGateThreads, kGateRings),
      cudaSuccess);
  return blocks;
}

struct GateSums {
  float part[kGateWarps][2][kColumns * kTileColumn];
};

// A row tile of h of one expert.
struct Item {
  int entry = -1;  // of the plan; −1: the shared expert
  int tile = 0;

  __device__ bool is_shared() const { return entry < 0; }
};

// This warp's groups of every item.
struct Groups {
  int first, last;
};
__device__ __forceinline__ Groups WarpGroups(const SmallArguments& args) {
  const int groups = args.w1[1].groups, warp = static_cast<int>(threadIdx.x) / 32;
  const int share = (groups + kGateWarps - 1) / kGateWarps;
  return {min(share * warp, groups), min(share * warp + share, groups)};
}

// What this warp reads of an item of `expert`.
__device__ __forceinline__ Part PartOf(const SmallArguments& args, int expert, const Item& item) {
  const Groups groups = WarpGroups(args);
  const bool is_shared = item.is_shared();
  return MakePart(args.w1[is_shared], args.w3[is_shared], expert, item.tile, item.tile,
                  groups.first, groups.last);
}

// A block's items: a tile of the shared expert or none, then tiles of the routed ones that follow
// each other, so that its columns seldom change. All blocks get the same bytes, as near as may be;
// those with a shared tile begin where a multiprocessor may have one block less than another.
struct Work {
  int first = 0;  // of the routed ones, counted through the plan
  int left = 0;   // how many of them are to come
};

__device__ __forceinline__ int BlockNumber(const SmallArguments& args) {
  const int number = static_cast<int>(blockIdx.x) - args.shared_block;
  return number < 0 ? number + static_cast<int>(gridDim.x) : number;
}

__device__ __forceinline__ Work WorkOf(const SmallArguments& args, const Plan& plan) {
  const int shared_tiles = args.shared_inner / kTileRows;
  const int routed = plan.count * (args.inner / kTileRows);
  const int blocks = static_cast<int>(gridDim.x);
  const int cost = args.w1[0].fp4 && !args.w1[1].fp4 ? 2 : 1;  // of a shared tile
  const int all = routed + cost * shared_tiles;
  const auto before = [=](int block) {
    if (all >= cost * blocks) return block * all / blocks - cost * min(block, shared_tiles);
    return max(block - shared_tiles, 0) * routed / (blocks - shared_tiles);
  };
  const int block = BlockNumber(args), first = before(block);
  return {first, before(block + 1) - first};
}

// Goes to the item behind `item`, if there is one.
__device__ __forceinline__ bool NextItem(const SmallArguments& args, Work& work, Item& item) {
  if (work.left == 0) return false;
  --work.left;
  const int tiles = args.inner / kTileRows;
  if (item.is_shared()) {
    item.entry = work.first / tiles;
    item.tile = work.first - item.entry * tiles;
  } else if (++item.tile == tiles) {
    item = {.entry = item.entry + 1, .tile = 0};
  }
  return true;
}

// The sums of the warps' parts, in order; of w1 and w3, this thread's column and row of the tile.
// By the block.
struct GateValues {
  int column, row;
  float a, b;
};
__device__ __forceinline__ GateValues SumGates(const float (&sum)[2][4], bool fp4, GateSums& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, c = lane % 4;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float* at = sums.part[threadIdx.x / 32][i] + 2 * c * kTileColumn + g;
    at[0] = sum[i][0];
    at[kTileColumn] = sum[i][1];
    at[8] = sum[i][2];
    at[kTileColumn + 8] = sum[i][3];
  }
  __syncthreads();
  GateValues v{.column = static_cast<int>(threadIdx.x) / kTileRows,
               .row = static_cast<int>(threadIdx.x) % kTileRows};
#pragma unroll
  for (int w = 0; w < kGateWarps; ++w) {
    v.a += sums.part[w][0][v.column * kTileColumn + v.row];
    v.b += sums.part[w][1][v.column * kTileColumn + v.row];
  }
  if (fp4) v.a *= kFp4HalfScale, v.b *= kFp4HalfScale;
  return v;
}

// Writes swiglu of an item's sums.
__device__ __forceinline__ void GateUpEnd(const SmallArguments& args, const float (&sum)[2][4],
                                          const Columns& columns, const Plan& plan, bool is_shared,
                                          int tile, GateSums& sums) {
  const GateValues v = SumGates(sum, args.w1[is_shared].fp4, sums);
  const int pair = columns.of(v.column);
  if (v.column >= columns.count) return;
  const float out =
      SwigluOf(RoundBf16(v.a), RoundBf16(v.b), is_shared ? 1.0f : plan.weight[pair], args.limit);
  Bf16* h = is_shared ? args.shared_h + int64_t{pair} * args.shared_inner
                      : args.h + int64_t{pair} * args.inner;
  h[tile * kTileRows + v.row] = RoundToBf16(out);
}

// Before the wait: the shared expert's weights. Its w2 goes to L2. The same for routed experts
// cost 3 µs at T=1 on an H100.
template <class Weights>
__device__ __forceinline__ void StartShared(const SmallArguments& args, const Item& item,
                                            Weights& weights) {
  weights.Start(PartOf(args, 0, item));
  PrefetchShare(args.w2[1], 0, item.tile * kGateWarps + static_cast<int>(threadIdx.x) / 32,
                args.shared_inner / kTileRows * kGateWarps);
}

// The list of what was chosen, by one block, before the next kernel may begin.
__device__ __forceinline__ void PublishChoice(const SmallArguments& args, const Plan& plan) {
  const int p = static_cast<int>(threadIdx.x);
  if (p < args.pairs()) {
    args.chosen[p] = plan.experts[p] < 0 ? -1 : plan.experts[p] + args.routes.first_expert;
    args.chosen_weight[p] = plan.weight[p];
  }
  __threadfence();
  __syncthreads();
}

// One token's x, quantised by every block for itself: a launch less.
class OwnRow {
 public:
  static constexpr int64_t Bytes(int64_t dim) { return 2 * dim + dim / kGroupColumns * 4; }

  __device__ __forceinline__ OwnRow(const SmallArguments& args, uint8_t* shared)
      : rows_{reinterpret_cast<uint16_t*>(shared),
              reinterpret_cast<float*>(shared + 2 * args.dim)} {}
  // All threads.
  __device__ __forceinline__ void Quantise(const SmallArguments& args) const {
#pragma unroll 1
    for (int first = 0; first < args.dim; first += kGateThreads * kPieceColumns) {
      const int column = first + static_cast<int>(threadIdx.x) * kPieceColumns;
      uint32_t v[8];
      LoadPiece(args.unquantised + column, column < args.dim, v);
      const float scale = QuantisePiece(v);
      if (column >= args.dim) continue;
      StorePiece(v, rows_.codes + column);
      if (column % kGroupColumns == 0) rows_.scales[column / kGroupColumns] = scale;
    }
    __syncthreads();
  }
  __device__ const HalfRows& rows() const {
    return rows_;
  }

 private:
  HalfRows rows_;
};

// One token's are read too quickly for a ring to fill.
template <bool kOwnRow>
using GateWeights = std::conditional_t<kOwnRow, TilePair, WeightRing<>>;

// The warps of a block share K of an item. kOwnRow: one token, not yet quantised.
template <bool kOwnRow>
__global__ void __launch_bounds__(kGateThreads, kGateBlocks)
    GateUpKernel(const __grid_constant__ SmallArguments args) {
  using Weights = GateWeights<kOwnRow>;
  extern __shared__ __align__(16) uint8_t shared[];
  __shared__ Plan plan;
  __shared__ GateSums sums[2];
  Weights weights(shared + threadIdx.x / 32 * Weights::kRingBytes);
  Item asked{.tile = BlockNumber(args)};
  const bool early = asked.tile < args.shared_inner / kTileRows;
  if (early) StartShared(args, asked, weights);
  ptx::GridDependencyWait();
  MakePlan<true, false>(args.routes, plan);
  if (blockIdx.x == 0 && args.chosen != nullptr) PublishChoice(args, plan);
  // Every block has waited here: the next kernel may read what this one found written.
  ptx::GridDependencyLaunch();
  Work work = WorkOf(args, plan), to_ask = work;
  Item item = asked;
  const auto next = [&]() -> Part {
    if (!NextItem(args, to_ask, asked)) return {.slots = kNoMore};
    return PartOf(args, plan.expert(asked.entry), asked);
  };
  weights.Fill(early, next);
  const OwnRow own(args, shared + kGateWarps * Weights::kRingBytes);
  if constexpr (kOwnRow) own.Quantise(args);
  Columns columns;
  RowInput input;
  int known = -2;  // whose columns those are
  bool more = early || NextItem(args, work, item);
  for (int turn = 0; more; turn ^= 1) {
    const bool is_shared = item.is_shared();
    if (item.entry != known) {
      known = item.entry;
      columns = is_shared ? TokenColumns(args.tokens()) : ColumnsOf(plan, known, args.tokens());
      input = RowInput(kOwnRow ? own.rows() : args.x, args.dim, columns,
                       is_shared ? 1 : args.routes.topk, WarpGroups(args).first);
    }
    const MatrixSet& w1 = args.w1[is_shared];
    const Groups groups = WarpGroups(args);
    Part part;
    if (!w1.fp4) part = PartOf(args, is_shared ? 0 : plan.expert(item.entry), item);
    float sum[2][4] = {};
    weights.Run(w1.slots_of(groups.last - groups.first), w1.fp4, part.scales, next, input, sum);
    // The other sums may still be read.
    GateUpEnd(args, sum, columns, plan, is_shared, item.tile, sums[turn]);
    more = NextItem(args, work, item);
  }
}

}  // namespace tandem::kernels::cuda
