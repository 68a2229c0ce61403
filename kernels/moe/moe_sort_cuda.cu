// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/moe/moe_tiles.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels::cuda {
namespace {

constexpr int kPrepareThreads = 1024;
constexpr int kCombineThreads = 256;
constexpr int kBatch = 8;  // pairs that a thread has under way: all of its block's share
constexpr int kGroupsAWarp = 4;
constexpr int kNoExpert = -1;  // in an unused slot
// A multiprocessor writes a row's token and weight somewhere in about a cycle each: many share
// that.
constexpr int kPairsABlock = 1536;
constexpr unsigned kSortBlocks = 16;

struct PrepareArgs {
  MoeExpertsArgs moe;
  int first_expert;
  int expert_count;
  int tile_rows;
  unsigned sort_blocks;
  MoeRows rows;
  QuantisedRows quantised;
};

// Sum over the threads before this one (x), and over all (y).
__device__ int2 BlockScan(int value) {
  static_assert(kPrepareThreads == 32 * 32);
  __shared__ int warps[32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int sum = WarpScan(value);
  __syncthreads();  // a scan before this one may still read
  if (lane == 31) warps[warp] = sum;
  __syncthreads();
  const int own = warps[lane], scan = WarpScan(own);
  const int before = __shfl_sync(0xFFFFFFFFu, scan - own, warp);
  return {before + sum - value, __shfl_sync(0xFFFFFFFFu, scan, 31)};
}

// Experts of the pairs `first`, and every kPrepareThreads on; −1: none. All loads at once.
__device__ __forceinline__ void LoadExperts(const PrepareArgs& p, int first, int pairs,
                                            int (&experts)[kBatch]) {
#pragma unroll
  for (int i = 0; i < kBatch; ++i) {
    const int pair = first + i * kPrepareThreads;
    experts[i] = pair < pairs ? p.moe.experts[pair] : kNoExpert;
  }
#pragma unroll
  for (int i = 0; i < kBatch; ++i) {
    const int64_t local = int64_t{experts[i]} - p.first_expert;
    experts[i] = local >= 0 && local < p.expert_count ? static_cast<int>(local) : -1;
  }
}

// Adds the pairs first .. end − 1 to the counts of their experts.
__device__ __forceinline__ void CountPairs(const PrepareArgs& p, int first, int end, int* count) {
#pragma unroll 1  // 64 registers a thread
  for (int base = first + static_cast<int>(threadIdx.x); base < end;
       base += kBatch * kPrepareThreads) {
    int experts[kBatch];
    LoadExperts(p, base, end, experts);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (experts[i] >= 0) atomicAdd(&count[experts[i]], 1);
    }
  }
}

// A block's share of the pairs: a thread's are kPrepareThreads apart.
struct OwnPairs {
  int expert[kBatch];  // −1: none
  int place[kBatch];   // among the share's pairs of that expert
  float weight[kBatch];
};

__device__ __forceinline__ void CountOwn(const PrepareArgs& p, int first, int end, OwnPairs& own,
                                         int* count) {
  const int thread = static_cast<int>(threadIdx.x);
  LoadExperts(p, first + thread, end, own.expert);
#pragma unroll
  for (int i = 0; i < kBatch; ++i) {
    if (own.expert[i] >= 0) own.weight[i] = p.moe.weight[first + thread + i * kPrepareThreads];
  }
#pragma unroll
  for (int i = 0; i < kBatch; ++i) {
    if (own.expert[i] >= 0) own.place[i] = atomicAdd(&count[own.expert[i]], 1);
  }
}

// begin: the row of an expert's first pair of the share.
__device__ __forceinline__ void PlaceOwn(const PrepareArgs& p, int first, int end,
                                         const OwnPairs& own, const int* begin) {
  const unsigned slots = static_cast<unsigned>(p.moe.experts.shape[1]);
#pragma unroll
  for (int i = 0; i < kBatch; ++i) {
    const int pair = first + static_cast<int>(threadIdx.x) + i * kPrepareThreads;
    if (pair >= end) break;
    const int row = own.expert[i] >= 0 ? begin[own.expert[i]] + own.place[i] : -1;
    p.rows.row_of[pair] = row;
    if (row < 0) continue;
    p.rows.token[row] = static_cast<int32_t>(static_cast<unsigned>(pair) / slots);
    p.rows.weight[row] = own.weight[i];
  }
}

// The tiles of the expert of this thread, largest first among all experts', so that the last ones
// that are multiplied are small. Tiles of one expert are equally large, in whole blocks of eight.
__device__ void CutTiles(const PrepareArgs& p, int begin, int rows) {
  __shared__ __align__(16) int sizes[kMostExperts];  // of an expert's tiles
  __shared__ int numbers[kMostExperts];              // how many, by rank
  const int thread = static_cast<int>(threadIdx.x);
  const int tiles = (rows + p.tile_rows - 1) / p.tile_rows;
  const int step = tiles > 0 ? ((rows + tiles - 1) / tiles + 7) / 8 * 8 : 0;
  sizes[thread] = step;
  __syncthreads();
  int rank = thread;
  if (p.tile_rows > 8 && thread < p.expert_count) {  // else all are equally large
    rank = 0;
#pragma unroll 4
    for (int e = 0; e < p.expert_count; e += 4) {  // no tiles behind the last expert
      const int4 size = *reinterpret_cast<const int4*>(sizes + e);
      rank += size.x > step || (size.x == step && e < thread);
      rank += size.y > step || (size.y == step && e + 1 < thread);
      rank += size.z > step || (size.z == step && e + 2 < thread);
      rank += size.w > step || (size.w == step && e + 3 < thread);
    }
  }
  numbers[rank] = tiles;
  __syncthreads();
  const int2 scan = BlockScan(numbers[thread]);
  if (thread == 0) *p.rows.tile_count = scan.y;
  if (thread < 2) p.rows.taken[thread] = 0;
  numbers[thread] = scan.x;
  __syncthreads();
  const int first = numbers[rank];
#pragma unroll 1
  for (int i = 0; i < tiles; ++i) {
    p.rows.tiles[first + i] = {thread, begin + i * step, min(step, rows - i * step)};
  }
}

// Block `part` of `parts` places its share of the pairs; every one counts them all.
__device__ void SortPairs(const PrepareArgs& p, int part, int parts) {
  // Of an expert: pairs of the parts before, then the row of this part's first one; its own; later.
  __shared__ int before[kMostExperts], mine[kMostExperts], later[kMostExperts];
  const int thread = static_cast<int>(threadIdx.x);
  const int pairs = static_cast<int>(p.moe.experts.size());
  const int share = (pairs + parts - 1) / parts;
  const int first = min(share * part, pairs), end = min(first + share, pairs);
  before[thread] = mine[thread] = later[thread] = 0;
  __syncthreads();
  OwnPairs own;
  CountOwn(p, first, end, own, mine);
  CountPairs(p, 0, first, before);
  CountPairs(p, end, pairs, later);
  __syncthreads();
  const int rows = before[thread] + mine[thread] + later[thread];
  const int begin = BlockScan(rows).x;
  before[thread] += begin;
  __syncthreads();
  PlaceOwn(p, first, end, own, before);
  if (part == 0) CutTiles(p, begin, rows);
}

// A lane's four values of a group of 128, quantised; the warp takes a group.
struct QuantisedLane {
  uint16_t codes[2];  // pairs
  Ue8m0 scale;
};
__device__ __forceinline__ QuantisedLane Quantise(uint2 words) {
  const float v[4] = {LowBf16(words.x), HighBf16(words.x), LowBf16(words.y), HighBf16(words.y)};
  float largest = kE4M3Floor;
#pragma unroll
  for (int i = 0; i < 4; ++i) largest = fmaxf(largest, fabsf(v[i]));
  largest = WarpReduce(largest, Max());
  const Ue8m0 scale = ScaleOf(largest, kInverse448);
  const float inverse = InverseScale(scale);
  return {{PackE4M3(v[0] * inverse, v[1] * inverse), PackE4M3(v[2] * inverse, v[3] * inverse)},
          scale};
}

__device__ __forceinline__ void StoreGroup(const QuantisedRows& to, int64_t group, int lane,
                                           const QuantisedLane& lane_codes) {
  if (to.scale != nullptr) {
    const uint32_t low = lane_codes.codes[0], high = lane_codes.codes[1];
    reinterpret_cast<uint32_t*>(to.x + group * kActGroup)[lane] = low | high << 16;
    if (lane == 0) to.scale[group] = lane_codes.scale.bits;
    return;
  }
  if (to.factor != nullptr) {
    reinterpret_cast<uint2*>(to.x + 2 * group * kActGroup)[lane] =
        make_uint2(E4M3ToHalf2(lane_codes.codes[0]), E4M3ToHalf2(lane_codes.codes[1]));
    if (lane == 0) to.factor[group] = ToFloat(lane_codes.scale);
    return;
  }
  const float s = ToFloat(lane_codes.scale);
  const float2 a = E4M3ToFloat2(lane_codes.codes[0]), b = E4M3ToFloat2(lane_codes.codes[1]);
  reinterpret_cast<uint2*>(to.x + 2 * group * kActGroup)[lane] =
      make_uint2(PackBf16(a.x * s, a.y * s), PackBf16(b.x * s, b.y * s));
}

// A warp takes kGroupsAWarp groups: all are asked for before the first is used.
__device__ void QuantiseGroups(const Bf16* x, const QuantisedRows& to, int64_t first,
                               int64_t groups) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint2 words[kGroupsAWarp];
#pragma unroll
  for (int i = 0; i < kGroupsAWarp; ++i) {
    if (first + i < groups) {
      words[i] = reinterpret_cast<const uint2*>(x + (first + i) * kActGroup)[lane];
    }
  }
#pragma unroll
  for (int i = 0; i < kGroupsAWarp; ++i) {
    if (first + i >= groups) break;
    StoreGroup(to, first + i, lane, Quantise(words[i]));
  }
}

// The first blocks sort; the others quantise.
__global__ void __launch_bounds__(kPrepareThreads, 1) PrepareKernel(PrepareArgs p) {
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  if (blockIdx.x < p.sort_blocks) {
    SortPairs(p, static_cast<int>(blockIdx.x), static_cast<int>(p.sort_blocks));
    return;
  }
  const int64_t warp =
      (blockIdx.x - p.sort_blocks) * int64_t{kPrepareThreads / 32} + threadIdx.x / 32;
  QuantiseGroups(p.moe.x.data, p.quantised, warp * kGroupsAWarp, p.moe.x.size() / kActGroup);
}

struct CombineArgs {
  MoeExpertsArgs moe;
  const int32_t* row_of;
  const Bf16* routed;
  const Bf16* shared;
};

__device__ __forceinline__ void Add(float (&sum)[8], const uint4& v) {
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum[2 * i] += LowBf16(words[i]);
    sum[2 * i + 1] += HighBf16(words[i]);
  }
}

// The rows of a token's pairs, experts ascending; returns how many. By a warp. Past L1, for this is
// before the wait: the pairs were sorted before the kernel in front could begin.
__device__ __forceinline__ int RowsOf(const CombineArgs& p, int64_t token, int* rows) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int slots = static_cast<int>(p.moe.experts.shape[1]);
  int row = -1, expert = 0;
  if (lane < slots) {
    row = __ldcg(p.row_of + token * slots + lane);
    expert = __ldcg(p.moe.experts.row(token) + lane);
  }
  int rank = 0;
#pragma unroll 1
  for (int i = 0; i < slots; ++i) {
    const int other = __shfl_sync(0xFFFFFFFFu, expert, i);
    const bool here = __shfl_sync(0xFFFFFFFFu, row, i) >= 0;
    rank += here && (other < expert || (other == expert && i < lane));
  }
  if (row >= 0) rows[rank] = row;
  return __popc(__ballot_sync(0xFFFFFFFFu, row >= 0));
}

// blockIdx.x: token; blockIdx.y: eight values a thread.
__global__ void __launch_bounds__(kCombineThreads) CombineKernel(CombineArgs p) {
  constexpr int kAtOnce = 6;  // rows
  __shared__ int rows[kMostSlots], count;
  const int64_t t = blockIdx.x, dim = p.moe.x.shape[1];
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < 32) {
    const int n = RowsOf(p, t, rows);
    if (thread == 0) count = n;
  }
  __syncthreads();
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const int64_t piece = int64_t{blockIdx.y} * kCombineThreads + thread;
  if (piece >= dim / 8) return;
  const uint4 shared = reinterpret_cast<const uint4*>(p.shared + t * dim)[piece];
  float sum[8] = {};
#pragma unroll 1
  for (int first = 0; first < count; first += kAtOnce) {
    uint4 v[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i < count) {
        v[i] = reinterpret_cast<const uint4*>(p.routed + rows[first + i] * dim)[piece];
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i < count) Add(sum, v[i]);
    }
  }
  Add(sum, shared);
  reinterpret_cast<uint4*>(p.moe.y.row(t))[piece] =
      make_uint4(PackBf16(sum[0], sum[1]), PackBf16(sum[2], sum[3]), PackBf16(sum[4], sum[5]),
                 PackBf16(sum[6], sum[7]));
}

}  // namespace

void MoePrepare(const MoeExpertsArgs& args, int tile_rows, const MoeRows& rows,
                const QuantisedRows& quantised, Stream& stream) {
  const int64_t groups = args.x.size() / kActGroup;
  const unsigned sort_blocks =
      std::clamp(Blocks(args.experts.size(), kPairsABlock), 1u, kSortBlocks);
  KERNEL_CHECK_LE(Blocks(args.experts.size(), sort_blocks), kBatch * kPrepareThreads);
  Launch({.name = "moe prepare",
          .grid = dim3(sort_blocks + Blocks(groups, kPrepareThreads / 32 * kGroupsAWarp)),
          .threads = kPrepareThreads},
         stream, PrepareKernel,
         PrepareArgs{.moe = args,
                     .first_expert = static_cast<int>(args.first_expert),
                     .expert_count = static_cast<int>(args.routed.shape[0]),
                     .tile_rows = tile_rows,
                     .sort_blocks = sort_blocks,
                     .rows = rows,
                     .quantised = quantised});
}

void MoeCombine(const MoeExpertsArgs& args, const int32_t* row_of, const Bf16* routed,
                const Bf16* shared, Stream& stream) {
  const int64_t pieces = args.x.shape[1] / 8;
  Launch({.name = "moe combine",
          .grid = dim3(Blocks(args.x.shape[0], 1), Blocks(pieces, kCombineThreads)),
          .threads = kCombineThreads},
         stream, CombineKernel,
         CombineArgs{.moe = args, .row_of = row_of, .routed = routed, .shared = shared});
}

}  // namespace tandem::kernels::cuda
