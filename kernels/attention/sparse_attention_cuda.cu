// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

#include "kernels/attention/head_tiles.cuh"
#include "kernels/attention/key_tiles.cuh"
#include "kernels/attention/sparse_attention.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/load.cuh"
#include "kernels/ptx/register_count.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = kHeadThreads + kKeyThreads;
// Of the 128 that each thread of 512 has at first.
constexpr int kHeadRegisters = 112, kKeyRegisters = 144;
static_assert(kHeadThreads * kHeadRegisters + kKeyThreads * kKeyRegisters <= kThreads * 128);
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;
constexpr int kMostSplits = 64;  // what the merge's weights have room for
constexpr int kMergeThreads = kHeadDim / 4;
constexpr int kSlots = 2;
// Named barriers. Key warps wait for a slot, and for the scores of the tile before to be taken;
// head warps for a tile. The rest: of one kind of warps.
constexpr int kFull = 1, kEmpty = kFull + kSlots, kTaken = kEmpty + kSlots;
constexpr int kKeysMeet = kTaken + 1, kHeadsMeet = kKeysMeet + 1;

struct SplitStats {
  float most;  // -inf: the split has no key
  float total;
};

struct Parameters {
  const Bf16* q;
  Bf16* out;
  float* lse;  // may be null
  const float* sink;
  const float* cos;  // null: not turned back
  const float* sin;
  DeviceKeySource sources[kMaxKeySources];
  float scale;  // times log2 e
  int32_t heads;
  KeyJobs jobs;
  float* sums;        // [T, H, splits, 512]; null: one split, which writes `out` itself
  SplitStats* stats;  // [T, H, splits]
};

template <int kM>
struct Shared {
  uint8_t tiles[kSlots][kTileBytes];
  HeadShare<kM> heads;
  KeyRows keys;
  uint32_t notes[kSlots];
};

struct Job {
  int t;
  int head0;
  int heads;
  int split;
};
template <int kM>
__device__ __forceinline__ Job JobOf(const Parameters& p, int job) {
  const auto units = static_cast<uint32_t>(p.jobs.units),
             groups = static_cast<uint32_t>(p.jobs.groups);
  const uint32_t split = static_cast<uint32_t>(job) / units, unit = job - split * units;
  const uint32_t t = unit / groups;
  const int head0 = static_cast<int>(unit - t * groups) * 16 * kM;
  return {static_cast<int>(t), head0, min(16 * kM, p.heads - head0), static_cast<int>(split)};
}

// By which a token's outputs are turned back.
__device__ __forceinline__ OutAngles AnglesOf(const Parameters& p, int t) {
  return {p.cos, p.sin, t * (kRopeDim / 2)};
}

__device__ __forceinline__ float Lse(float most, float total) {
  return most == kNoScore ? kNoScore : (most + log2f(total)) * kLn2;
}

// Asks for a job's queries to be in L2.
__device__ __forceinline__ void PrefetchQueries(const Parameters& p, const Job& job) {
  constexpr int kEach = 32;  // elements that one asks for
  const Bf16* q = p.q + (int64_t{job.t} * p.heads + job.head0) * kHeadDim;
  for (int i = kEach * KeyThread(); i < job.heads * kHeadDim; i += kEach * kKeyThreads) {
    ptx::PrefetchL2(q + i);
  }
}

template <int kM, bool kRotated>
__device__ __forceinline__ void BringKeys(const Parameters& p, Shared<kM>& shared) {
  using Warp = KeyWarp<kM, kRotated>;
  Warp mine(KeyThread());
  TileStream stream(p.jobs, shared.keys, kKeysMeet);
  typename Warp::Raw raw[Warp::kEights];
  uint32_t next = stream.Next();
#pragma unroll
  for (int eight = 0; eight < Warp::kEights; ++eight) {
    mine.Load(shared.keys, stream.first(), KeysOf(next), eight, raw[eight]);
  }
  int slot = 0;
  for (;; slot ^= 1) {
    if (KeyThread() == 0) shared.notes[slot] = next;  // that of two tiles before has been read
    if ((next & kEnd) != 0) break;
    if ((next & kFirst) != 0) {
      const Job job = JobOf<kM>(p, stream.job());
      mine.LoadQueries(p.q + (int64_t{job.t} * p.heads + job.head0) * kHeadDim, job.heads);
    }
    next = stream.Next();
    if ((next & kFirst) != 0) PrefetchQueries(p, JobOf<kM>(p, stream.job()));
    const int valid = (next & kEnd) != 0 ? 0 : KeysOf(next);
#pragma unroll
    for (int eight = 0; eight < Warp::kEights; ++eight) {
      typename Warp::Keys keys;
      mine.Widen(raw[eight], keys);
      mine.Load(shared.keys, stream.first(), valid, eight, raw[eight]);
      const typename Warp::Scores scores = mine.Multiply(keys);
      if (eight == 0) {
        ptx::BarrierWait(kEmpty + slot, kThreads);
        ptx::BarrierWait(kTaken, kThreads);
      }
      mine.Put(keys, scores, eight, shared.tiles[slot], shared.heads.parts);
    }
    ptx::BarrierArrive(kFull + slot, kThreads);
  }
  ptx::BarrierArrive(kFull + slot, kThreads);
}

template <int kM>
__device__ __forceinline__ void EndSoftmax(const Parameters& p, Shared<kM>& shared,
                                           HeadTiles<kM>& mine, int job_index, int turn) {
  const auto [most, total] = mine.TakeDenominator();
  const Job job = JobOf<kM>(p, job_index);
  const int head = mine.head();
  if (head < 0 || head >= job.heads) return;
  const int64_t row = int64_t{job.t} * p.heads + job.head0 + head;
  if (p.sums != nullptr) {
    p.stats[row * p.jobs.splits + job.split] = {most, total};
    return;
  }
  const float sink = Exp2(p.sink[job.head0 + head] * kLog2E - most);
  shared.heads.inverse[turn][head] = most == kNoScore ? 0 : kTileUnit / (total + sink);
  if (p.lse != nullptr) p.lse[row] = Lse(most, total);
}

template <int kM>
__device__ __forceinline__ void EndValues(const Parameters& p, HeadTiles<kM>& mine, int job_index,
                                          int turn) {
  const Job job = JobOf<kM>(p, job_index);
  const int64_t row = int64_t{job.t} * p.heads + job.head0;
  if (p.sums != nullptr) {
    mine.TakeSums(p.sums + (row * p.jobs.splits + job.split) * kHeadDim,
                  int64_t{p.jobs.splits} * kHeadDim, job.heads);
  } else {
    mine.TakeOut(p.out + row * kHeadDim, job.heads, turn, AnglesOf(p, job.t));
  }
}

template <int kM>
__device__ __forceinline__ void AttendHeads(const Parameters& p, Shared<kM>& shared) {
  HeadTiles<kM> mine(&shared.heads, ThisThread());
  const uint32_t slots = ptx::SharedAddress(shared.tiles);
  int job = static_cast<int>(blockIdx.x);
#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot) ptx::BarrierArrive(kEmpty + slot, kThreads);
  ptx::BarrierArrive(kTaken, kThreads);
  for (int slot = 0;; slot ^= 1) {
    ptx::BarrierWait(kFull + slot, kThreads);
    const uint32_t note = shared.notes[slot];
    if ((note & kEnd) != 0) break;
    typename HeadTiles<kM>::Scores scores;
    mine.TakeScores(scores);
    ptx::BarrierArrive(kTaken, kThreads);
    mine.Softmax(scores, KeysOf(note), p.scale, slot);
    if ((note & kLast) != 0) EndSoftmax<kM>(p, shared, mine, job, slot);
    ptx::BarrierWait(kHeadsMeet, kHeadThreads);
    mine.Values(slots + slot * kTileBytes, slot);
    ptx::BarrierArrive(kEmpty + slot, kThreads);
    if ((note & kLast) != 0) {
      EndValues<kM>(p, mine, job, slot);
      job += static_cast<int>(gridDim.x);
    }
  }
}

template <int kM>
__global__ void __launch_bounds__(kThreads, 1)
    SparseAttentionKernel(const __grid_constant__ Parameters p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared<kM>& shared = *reinterpret_cast<Shared<kM>*>(memory);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < kMaxKeySources) shared.keys.sources[thread] = p.sources[thread];
  __syncthreads();
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  if (thread < kHeadThreads) {
    ptx::GiveRegisters<kHeadRegisters>();
    AttendHeads<kM>(p, shared);
  } else {
    ptx::TakeRegisters<kKeyRegisters>();
    if (thread < kThreads - 2 * 32) {
      BringKeys<kM, false>(p, shared);
    } else {
      BringKeys<kM, true>(p, shared);
    }
  }
}

// One block a head: the splits' sums under one maximum, then the sink, in order of the splits.
// kAhead: splits whose sums are asked for before their weights are known.
template <int kAhead>
__global__ void __launch_bounds__(kMergeThreads) MergeKernel(const __grid_constant__ Parameters p) {
  __shared__ float weights[kMostSplits];
  __shared__ float inverse;
  ptx::GridDependencyLaunch();  // the next launch's weights are on their way while heads attend
  ptx::GridDependencyWait();
  const int64_t row = blockIdx.x;
  const float4* sums =
      reinterpret_cast<const float4*>(p.sums + row * p.jobs.splits * kHeadDim) + threadIdx.x;
  float4 ahead[kAhead];
#pragma unroll
  for (int split = 0; split < kAhead; ++split) {
    if (split < p.jobs.splits) ahead[split] = sums[split * kMergeThreads];
  }
  if (threadIdx.x < 32) {
    SplitStats stats[kMostSplits / 32];
    float most = kNoScore, total = 0;
#pragma unroll
    for (int i = 0; i < kMostSplits / 32; ++i) {
      const int split = static_cast<int>(threadIdx.x) + 32 * i;
      stats[i] =
          split < p.jobs.splits ? p.stats[row * p.jobs.splits + split] : SplitStats{kNoScore, 0};
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
      inverse = most == kNoScore ? 0 : kTileUnit / (total + sink);
      if (p.lse != nullptr) p.lse[row] = Lse(most, total);
    }
  }
  __syncthreads();
  float4 sum = make_float4(0, 0, 0, 0);
  const auto add = [&](float weight, const float4& v) {
    sum.x += weight * v.x;
    sum.y += weight * v.y;
    sum.z += weight * v.z;
    sum.w += weight * v.w;
  };
#pragma unroll
  for (int split = 0; split < kAhead; ++split) {
    if (split < p.jobs.splits) add(weights[split], ahead[split]);
  }
#pragma unroll 8
  for (int split = kAhead; split < p.jobs.splits; ++split) {
    add(weights[split], sums[split * kMergeThreads]);
  }
  uint2 out = make_uint2(PackBf16(sum.x * inverse, sum.y * inverse),
                         PackBf16(sum.z * inverse, sum.w * inverse));
  TurnBack(out, AnglesOf(p, static_cast<int>(row / p.heads)), 4 * static_cast<int>(threadIdx.x));
  reinterpret_cast<uint2*>(p.out + row * kHeadDim)[threadIdx.x] = out;
}

DeviceKeySource OnDevice(const KeySource& source) {
  if (source.rows.base == nullptr || source.index.shape[1] == 0) return {};
  const auto rows = static_cast<uint64_t>(source.rows.rows_per_page);
  KERNEL_CHECK(std::has_single_bit(rows));
  return {.base = source.rows.base,
          .index = source.index.data,
          .columns = static_cast<int32_t>(source.index.shape[1]),
          .row_shift = std::countr_zero(rows),
          .page_bytes = static_cast<int32_t>(KvPageBytes(source.rows.rows_per_page))};
}

// A block fills a multiprocessor. With fewer units than those, each job takes a part of the
// lists, but no less than two tiles, less work than the start and the merge cost; or one tile where
// most multiprocessors are idle even so.
int Splits(int64_t units, int columns) {
  const int64_t idle = Multiprocessors() / units;
  const int64_t least = (idle > kMostSplits / 2 ? 1 : 2) * kTileKeys;
  return static_cast<int>(
      std::max<int64_t>(1, std::min({idle, int64_t{kMostSplits}, columns / least})));
}

template <int kM>
void LaunchBlocks(Parameters& p, int64_t tokens, Stream& stream) {
  p.jobs.groups = (p.heads + 16 * kM - 1) / (16 * kM);
  p.jobs.units = static_cast<int32_t>(tokens * p.jobs.groups);
  const int wanted = Splits(p.jobs.units, p.jobs.columns);
  const int share = (p.jobs.columns + wanted - 1) / wanted;
  p.jobs.split_columns = std::max((share + kTileKeys - 1) / kTileKeys, 1) * kTileKeys;
  p.jobs.splits = std::max((p.jobs.columns + p.jobs.split_columns - 1) / p.jobs.split_columns, 1);
  Scratch scratch(stream);
  if (p.jobs.splits > 1) {
    p.sums = scratch.Take<float>(tokens * p.heads * p.jobs.splits * kHeadDim);
    p.stats = scratch.Take<SplitStats>(tokens * p.heads * p.jobs.splits);
  }
  const int jobs = p.jobs.units * p.jobs.splits;
  Launch({.name = "sparse_attention",
          .grid = dim3(static_cast<unsigned>(std::min(jobs, Multiprocessors()))),
          .threads = kThreads,
          .shared_bytes = sizeof(Shared<kM>)},
         stream, SparseAttentionKernel<kM>, p);
  if (p.jobs.splits == 1) return;
  // More than are wanted cost registers, which many tokens' blocks have none to spare of.
  const auto merge = p.jobs.splits <= 4    ? MergeKernel<4>
                     : p.jobs.splits <= 10 ? MergeKernel<10>
                                           : MergeKernel<20>;
  Launch({.name = "sparse_attention merge",
          .grid = dim3(static_cast<unsigned>(tokens * p.heads)),
          .threads = kMergeThreads},
         stream, merge, p);
}

}  // namespace

void SparseAttention(const SparseAttentionArgs& args, Stream& stream) {
  CheckSparseAttention(args);
  Parameters p = {.q = args.q.data,
                  .out = args.out.data,
                  .lse = args.lse.data,
                  .sink = args.sink.data,
                  .cos = args.cos.data,
                  .sin = args.sin.data,
                  .scale = args.scale * kLog2E,
                  .heads = static_cast<int32_t>(args.q.shape[1])};
  for (int i = 0; i < kMaxKeySources; ++i) {
    p.sources[i] = OnDevice(args.sources[i]);
    p.jobs.columns += p.sources[i].columns;
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
