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
constexpr int kBatch = 8;  // pairs that a thread has under way
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
  __shared__ int warps[32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int sum = WarpScan(value);
  __syncthreads();  // a scan before this one may still read
  if (lane == 31) warps[warp] = sum;
  __syncthreads();
  int before = 0, all = 0;
#pragma unroll 4
  for (int i = 0; i < kPrepareThreads / 32; ++i) {
    if (i < warp) before += warps[i];
    all += warps[i];
  }
  return {before + sum - value, all};
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

// Gives the pairs first .. end − 1 their rows; next: an expert's next free row.
__device__ __forceinline__ void PlacePairs(const PrepareArgs& p, int first, int end, int* next) {
  const unsigned slots = static_cast<unsigned>(p.moe.experts.shape[1]);
#pragma unroll 1  // 64 registers a thread
  for (int base = first + static_cast<int>(threadIdx.x); base < end;
       base += kBatch * kPrepareThreads) {
    int experts[kBatch], row[kBatch];
    LoadExperts(p, base, end, experts);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      row[i] = experts[i] >= 0 ? atomicAdd(&next[experts[i]], 1) : -1;
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int pair = base + i * kPrepareThreads;
      if (pair >= end) break;
      p.rows.row_of[pair] = row[i];
      if (row[i] < 0) continue;
      p.rows.token[row[i]] = static_cast<int32_t>(static_cast<unsigned>(pair) / slots);
      p.rows.weight[row[i]] = p.moe.weight[pair];
    }
  }
}

// The tiles of the expert of this thread, largest first among all experts', so that the last ones
// that are multiplied are small. Tiles of one expert are equally large, in whole blocks of eight.
__device__ void CutTiles(const PrepareArgs& p, int begin, int rows) {
  __shared__ int sizes[kMostExperts];    // of an expert's tiles
  __shared__ int numbers[kMostExperts];  // how many, by rank
  const int thread = static_cast<int>(threadIdx.x);
  const int tiles = (rows + p.tile_rows - 1) / p.tile_rows;
  const int step = tiles > 0 ? ((rows + tiles - 1) / tiles + 7) / 8 * 8 : 0;
  sizes[thread] = step;
  __syncthreads();
  int rank = thread;
  if (thread < p.expert_count) {
    rank = 0;
    for (int e = 0; e < p.expert_count; ++e) {
      rank += sizes[e] > step || (sizes[e] == step && e < thread);
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
  __shared__ int count[kMostExperts];  // then the next free row
  const int thread = static_cast<int>(threadIdx.x);
  const int pairs = static_cast<int>(p.moe.experts.size());
  const int share = (pairs + parts - 1) / parts;
  const int first = min(share * part, pairs), end = min(first + share, pairs);
  count[thread] = 0;
  __syncthreads();
  CountPairs(p, 0, first, count);
  __syncthreads();
  const int before = count[thread];
  __syncthreads();
  CountPairs(p, first, pairs, count);
  __syncthreads();
  const int rows = count[thread];
  const int begin = BlockScan(rows).x;
  count[thread] = begin + before;
  __syncthreads();
  PlacePairs(p, first, end, count);
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

__device__ __forceinline__ void Add(float (&sum)[8], const Bf16* row, int64_t piece) {
  const uint4 v = reinterpret_cast<const uint4*>(row)[piece];
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum[2 * i] += LowBf16(words[i]);
    sum[2 * i + 1] += HighBf16(words[i]);
  }
}

// One block a token.
__global__ void __launch_bounds__(kCombineThreads) CombineKernel(CombineArgs p) {
  __shared__ int rows[kMostSlots];  // experts ascending
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const int64_t t = blockIdx.x, dim = p.moe.x.shape[1];
  const int slots = static_cast<int>(p.moe.experts.shape[1]);
  const int thread = static_cast<int>(threadIdx.x);
  const int32_t* const experts = p.moe.experts.row(t);
  const int32_t* const row_of = p.row_of + t * slots;
  int count = 0;
  for (int i = 0; i < slots; ++i) count += row_of[i] >= 0;
  if (thread < slots && row_of[thread] >= 0) {
    int before = 0;
    for (int i = 0; i < slots; ++i) {
      const bool earlier =
          experts[i] < experts[thread] || (experts[i] == experts[thread] && i < thread);
      before += row_of[i] >= 0 && earlier;
    }
    rows[before] = row_of[thread];
  }
  __syncthreads();
  for (int64_t piece = thread; piece < dim / 8; piece += kCombineThreads) {
    float sum[8] = {};
    for (int i = 0; i < count; ++i) Add(sum, p.routed + rows[i] * dim, piece);
    Add(sum, p.shared + t * dim, piece);
    reinterpret_cast<uint4*>(p.moe.y.row(t))[piece] =
        make_uint4(PackBf16(sum[0], sum[1]), PackBf16(sum[2], sum[3]), PackBf16(sum[4], sum[5]),
                   PackBf16(sum[6], sum[7]));
  }
}

}  // namespace

void MoePrepare(const MoeExpertsArgs& args, int tile_rows, const MoeRows& rows,
                const QuantisedRows& quantised, Stream& stream) {
  const int64_t groups = args.x.size() / kActGroup;
  const unsigned sort_blocks =
      std::clamp(Blocks(args.experts.size(), kPairsABlock), 1u, kSortBlocks);
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
  Launch(
      {.name = "moe combine", .grid = dim3(Blocks(args.x.shape[0], 1)), .threads = kCombineThreads},
      stream, CombineKernel,
      CombineArgs{.moe = args, .row_of = row_of, .routed = routed, .shared = shared});
}

}  // namespace tandem::kernels::cuda
