// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "kernels/attention/head_tiles.cuh"
#include "kernels/attention/key_tiles.cuh"
#include "kernels/attention/sparse_attention.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/register_count.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = kHeadThreads + kLoaderThreads;
// Of the 128 that each thread of 512 has at first; heads keep queries and sums in theirs.
constexpr int kHeadRegisters = 160, kLoaderRegisters = 96;
static_assert(kHeadThreads * kHeadRegisters + kLoaderThreads * kLoaderRegisters <= kThreads * 128);
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;
constexpr int kMostSplits = 64;  // what the merge's weights have room for
constexpr int kMergeThreads = kHeadDim / 4;
// Named barriers: of the heads and one group, for its buffer; of the heads.
constexpr int kPairThreads = kHeadThreads + kGroupThreads;
constexpr int kFull = 1, kEmpty = kFull + kGroups, kHeadsMeet = kEmpty + kGroups;

struct SplitStats {
  float most;  // -inf: the split has no key, and its sums are not written
  float total;
};

struct Parameters {
  const Bf16* q;
  Bf16* out;
  float* lse;  // may be null
  const float* sink;
  DeviceKeySource sources[kMaxKeySources];
  float scale;  // times log2 e
  int32_t heads;
  int32_t groups;         // blocks that share a token's heads
  int32_t columns;        // of all lists
  int32_t split_columns;  // of one split
  int32_t splits;
  float* sums;        // [T, H, splits, 512]; null: one split, which writes `out` itself
  SplitStats* stats;  // [T, H, splits]
};

template <int kM>
struct Shared {
  uint8_t tiles[kGroups][kTileBytes];
  HeadShare<kM> heads;
  KeyList list;
};

// The raw entries of this block: begin .. end−1.
struct Range {
  int begin;
  int end;
};
__device__ __forceinline__ Range MyRange(const Parameters& p) {
  const int begin = static_cast<int>(blockIdx.z) * p.split_columns;
  return {begin, min(begin + p.split_columns, p.columns)};
}

__device__ __forceinline__ float Lse(float most, float total) {
  return most == kNoScore ? kNoScore : (most + log2f(total)) * kLn2;
}

// A group fills its buffer with every second tile.
template <int kM>
__device__ __forceinline__ void FillTiles(const Parameters& p, Shared<kM>& shared, int t,
                                          int loader) {
  const int group = loader / kGroupThreads, thread = loader % kGroupThreads;
  const Range range = MyRange(p);
  uint8_t* tile = shared.tiles[group];
  int turn = group;  // 0: the next tile is mine
  for (int at = range.begin; at < range.end; at += kSegmentEntries) {
    const int count = ReadSegment(shared.list, t, at, range.end, loader);
    RawKeys keys;
    int next = turn * kTileKeys;
    if (next < count) {
      LoadKeys(shared.list, shared.list.entries + next, count - next, thread, keys);
    }
    while (next < count) {
      ptx::BarrierWait(kEmpty + group, kPairThreads);
      StoreKeys(keys, thread, tile);
      ptx::BarrierArrive(kFull + group, kPairThreads);
      next += kGroups * kTileKeys;
      if (next < count) {
        LoadKeys(shared.list, shared.list.entries + next, count - next, thread, keys);
      }
    }
    turn ^= (count + kTileKeys - 1) / kTileKeys % kGroups;
  }
  ptx::BarrierWait(kEmpty + group, kPairThreads);
}

// The heads of this block: `heads` of them, the first one of all [T·H] is `first`. Worked out anew
// where it is wanted, for it would take registers that the loop over the tiles has not.
struct Heads {
  int head0;
  int heads;
  int64_t first;
};
template <int kM>
__device__ __forceinline__ Heads MyHeads(const Parameters& p) {
  uint32_t block;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
  const uint32_t t = block / static_cast<uint32_t>(p.groups);
  const int head0 = static_cast<int>(block - t * static_cast<uint32_t>(p.groups)) * 16 * kM;
  return {head0, min(16 * kM, p.heads - head0), int64_t{t} * p.heads + head0};
}

template <int kM>
__device__ __forceinline__ void WriteHeads(const Parameters& p, Shared<kM>& shared,
                                           HeadTiles<kM>& mine, int tiles) {
  const Heads block = MyHeads<kM>(p);
  const float total = mine.Total(), most = mine.most();
  const int head = mine.head();
  const bool real = head < block.heads && mine.first_lane();
  if (p.sums != nullptr) {
    const int64_t split = block.first * p.splits + blockIdx.z;
    if (real) p.stats[split + int64_t{head} * p.splits] = {most, total};
    if (tiles > 0) {
      mine.WriteSums(p.sums + split * kHeadDim, int64_t{p.splits} * kHeadDim, block.heads);
    }
    return;
  }
  if (real) {
    const float sink = Exp2(p.sink[block.head0 + head] * kLog2E - most);
    shared.heads.inverse[head] = most == kNoScore ? 0 : 1.0f / (total + sink);
    if (p.lse != nullptr) p.lse[block.first + head] = Lse(most, total);
  }
  mine.Meet();
  mine.WriteOut(p.out + block.first * kHeadDim, block.heads, shared.tiles[tiles % kGroups]);
}

template <int kM>
__device__ __forceinline__ void AttendHeads(const Parameters& p, Shared<kM>& shared, int thread) {
  HeadTiles<kM> mine(&shared.heads, thread, kHeadsMeet);
  {
    const Heads block = MyHeads<kM>(p);
    mine.LoadQueries(p.q + block.first * kHeadDim, block.heads, shared.tiles[0]);
  }
#pragma unroll
  for (int b = 0; b < kGroups; ++b) ptx::BarrierArrive(kEmpty + b, kPairThreads);
  int tile = 0;
  const Range range = MyRange(p);
  for (int at = range.begin; at < range.end; at += kSegmentEntries) {
    for (int left = AwaitSegment(shared.list); left > 0; left -= kTileKeys, ++tile) {
      const int b = tile % kGroups;
      ptx::BarrierWait(kFull + b, kPairThreads);
      mine.Attend(ptx::SharedAddress(shared.tiles[b]), left, p.scale);
      ptx::BarrierArrive(kEmpty + b, kPairThreads);
    }
  }
  WriteHeads<kM>(p, shared, mine, tile);
}

// Block (t·groups + group, 0, split).
template <int kM>
__global__ void __launch_bounds__(kThreads, 1)
    SparseAttentionKernel(const __grid_constant__ Parameters p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared<kM>& shared = *reinterpret_cast<Shared<kM>*>(memory);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < kMaxKeySources) shared.list.sources[thread] = p.sources[thread];
  __syncthreads();
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  if (thread < kHeadThreads) {
    ptx::TakeRegisters<kHeadRegisters>();
    AttendHeads<kM>(p, shared, thread);
  } else {
    ptx::GiveRegisters<kLoaderRegisters>();
    const int t = static_cast<int>(blockIdx.x / static_cast<unsigned>(p.groups));
    FillTiles<kM>(p, shared, t, thread - kHeadThreads);
  }
}

// One block a head: the splits' sums under one maximum, then the sink, in order of the splits.
__global__ void __launch_bounds__(kMergeThreads) MergeKernel(const __grid_constant__ Parameters p) {
  constexpr int kAhead = 4;  // splits whose sums are asked for before their weights are known
  __shared__ float weights[kMostSplits];
  __shared__ float inverse;
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const int64_t row = blockIdx.x;
  const float4* sums =
      reinterpret_cast<const float4*>(p.sums + row * p.splits * kHeadDim) + threadIdx.x;
  float4 ahead[kAhead];
#pragma unroll
  for (int split = 0; split < kAhead; ++split) {
    if (split < p.splits) ahead[split] = sums[split * kMergeThreads];
  }
  if (threadIdx.x < 32) {
    SplitStats stats[kMostSplits / 32];
    float most = kNoScore, total = 0;
#pragma unroll
    for (int i = 0; i < kMostSplits / 32; ++i) {
      const int split = static_cast<int>(threadIdx.x) + 32 * i;
      stats[i] = split < p.splits ? p.stats[row * p.splits + split] : SplitStats{kNoScore, 0};
      most = fmaxf(most, stats[i].most);
    }
    most = WarpReduce(most, Max());
#pragma unroll
    for (int i = 0; i < kMostSplits / 32; ++i) {
      const float weight = stats[i].most == kNoScore ? 0 : Exp2(stats[i].most - most);
      weights[threadIdx.x + 32 * i] = weight;
      total += weight * stats[i].total;
    }
    total = WarpReduce(total, Sum());
    if (threadIdx.x == 0) {
      const float sink = Exp2(p.sink[row % p.heads] * kLog2E - most);
      inverse = most == kNoScore ? 0 : 1.0f / (total + sink);
      if (p.lse != nullptr) p.lse[row] = Lse(most, total);
    }
  }
  __syncthreads();
  float4 sum = make_float4(0, 0, 0, 0);
  const auto add = [&](float weight, const float4& v) {
    if (weight == 0) return;  // its sums may not be written
    sum.x += weight * v.x;
    sum.y += weight * v.y;
    sum.z += weight * v.z;
    sum.w += weight * v.w;
  };
#pragma unroll
  for (int split = 0; split < kAhead; ++split) {
    if (split < p.splits) add(weights[split], ahead[split]);
  }
#pragma unroll 8
  for (int split = kAhead; split < p.splits; ++split) {
    add(weights[split], sums[split * kMergeThreads]);
  }
  reinterpret_cast<uint2*>(p.out + row * kHeadDim)[threadIdx.x] = make_uint2(
      PackBf16(sum.x * inverse, sum.y * inverse), PackBf16(sum.z * inverse, sum.w * inverse));
}

DeviceKeySource OnDevice(const KeySource& source) {
  if (source.rows.base == nullptr || source.index.shape[1] == 0) return {};
  const auto rows = static_cast<uint64_t>(source.rows.rows_per_page);
  KERNEL_CHECK(std::has_single_bit(rows));
  KERNEL_CHECK_LE(source.rows.rows(), int64_t{1} << kRowBits);
  return {.base = source.rows.base,
          .index = source.index.data,
          .columns = static_cast<int32_t>(source.index.shape[1]),
          .row_shift = std::countr_zero(rows),
          .page_bytes = static_cast<int32_t>(KvPageBytes(source.rows.rows_per_page))};
}

// A block fills a multiprocessor. With fewer tokens than those, each block takes a part of the
// lists, but no less than two tiles: less work than the start and the merge cost.
int Splits(int64_t blocks, int columns) {
  constexpr int kLeastColumns = 2 * kTileKeys;
  const int64_t idle = Multiprocessors() / blocks;
  const int64_t most = std::min<int64_t>(kMostSplits, columns / kLeastColumns);
  return static_cast<int>(std::max<int64_t>(1, std::min(idle, most)));
}

template <int kM>
void LaunchBlocks(Parameters& p, int64_t tokens, Stream& stream) {
  p.groups = (p.heads + 16 * kM - 1) / (16 * kM);
  const int64_t blocks = tokens * p.groups;
  const int wanted = Splits(blocks, p.columns);
  const int share = (p.columns + wanted - 1) / wanted;
  p.split_columns = std::max((share + kTileKeys - 1) / kTileKeys, 1) * kTileKeys;
  p.splits = std::max((p.columns + p.split_columns - 1) / p.split_columns, 1);
  Scratch scratch(stream);
  if (p.splits > 1) {
    p.sums = scratch.Take<float>(tokens * p.heads * p.splits * kHeadDim);
    p.stats = scratch.Take<SplitStats>(tokens * p.heads * p.splits);
  }
  Launch({.name = "sparse_attention",
          .grid = dim3(static_cast<unsigned>(blocks), 1, static_cast<unsigned>(p.splits)),
          .threads = kThreads,
          .shared_bytes = sizeof(Shared<kM>)},
         stream, SparseAttentionKernel<kM>, p);
  if (p.splits == 1) return;
  Launch({.name = "sparse_attention merge",
          .grid = dim3(static_cast<unsigned>(tokens * p.heads)),
          .threads = kMergeThreads},
         stream, MergeKernel, p);
}

}  // namespace

void SparseAttention(const SparseAttentionArgs& args, Stream& stream) {
  CheckSparseAttention(args);
  Parameters p = {.q = args.q.data,
                  .out = args.out.data,
                  .lse = args.lse.data,
                  .sink = args.sink.data,
                  .scale = args.scale * kLog2E,
                  .heads = static_cast<int32_t>(args.q.shape[1])};
  for (int i = 0; i < kMaxKeySources; ++i) {
    p.sources[i] = OnDevice(args.sources[i]);
    p.columns += p.sources[i].columns;
  }
  const int64_t tokens = args.q.shape[0];
  if (tokens * p.heads == 0) return;
  if (p.heads <= 16) {
    LaunchBlocks<1>(p, tokens, stream);
  } else {
    LaunchBlocks<2>(p, tokens, stream);
  }
}

}  // namespace tandem::kernels::cuda
