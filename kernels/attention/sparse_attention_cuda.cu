// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

#include "kernels/attention/cluster_merge.cuh"
#include "kernels/attention/head_tiles.cuh"
#include "kernels/attention/key_tiles.cuh"
#include "kernels/attention/sparse_attention.h"
#include "kernels/attention/split_merge.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/load.cuh"
#include "kernels/ptx/register_count.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = kHeadThreads + kKeyThreads;
// Of the 128 that each thread of 512 has at first. Heads need more where they join a cluster's.
template <int kBlocks>
constexpr int kHeadRegisters = kBlocks == 1 ? 104 : 112;
template <int kBlocks>
constexpr int kKeyRegisters = 2 * 128 - kHeadRegisters<kBlocks>;
static_assert(kHeadThreads == kKeyThreads);
// Named barriers. Head warps wait for a tile, key warps for the scores of the tile before it to be
// taken: then the slot is free too, for the tile before that one has been added. The rest: of one
// kind of warps.
constexpr int kFull = 1, kTaken = 2, kKeysMeet = 3, kHeadsMeet = 4;
static_assert(kSlots == 2);

template <int kM, int kBlocks>
struct Shared {
  uint8_t tiles[kSlots][kTileBytes];
  HeadShare<kM> heads;
  ClusterShare<kM, kBlocks> cluster;
  KeyRows keys;
  uint32_t notes[kSlots];
};

// Asks for rows first .. of the list to be in L2, a tile of them.
__device__ __forceinline__ void PrefetchRows(const KeyRows& keys, int first, int count) {
  constexpr int kLine = 128, kLines = (kKvRowDataBytes + kLine - 1) / kLine;  // rows begin at 64s
  constexpr int kEach = kKeyThreads / kTileKeys;
  static_assert(kLines <= kEach);
  const int row = first + KeyThread() / kEach, line = KeyThread() % kEach;
  if (line < kLines && row < count) ptx::PrefetchL2(keys.rows[row] + kLine * line);
}

// Asks for a job's queries to be in L2.
__device__ __forceinline__ void PrefetchQueries(const Parameters& p, const Job& job) {
  constexpr int kEach = 32;  // elements that one asks for
  const Bf16* q = p.q + (int64_t{job.t} * p.heads + job.head0) * kHeadDim;
  for (int i = kEach * KeyThread(); i < job.heads * kHeadDim; i += kEach * kKeyThreads) {
    ptx::PrefetchL2(q + i);
  }
}

template <int kM, bool kRotated, int kBlocks>
__device__ __forceinline__ void BringKeys(const Parameters& p, Shared<kM, kBlocks>& shared) {
  constexpr int kSums = kRotated && kBlocks > 1 ? 1 : 2;  // two where there are registers
  using Warp = KeyWarp<kM, kRotated, kSums>;
  Warp mine(KeyThread());
  TileStream stream(p.jobs, shared.keys, kKeysMeet);
  typename Warp::Raw raw[Warp::kEights] = {};
  const auto row_of = [&](uint32_t note, int eight) {
    return shared.keys.rows[mine.Place(stream.first(), KeysOf(note), eight)];
  };
  if (kBlocks > 1) PrefetchQueries(p, JobOf<kM>(p, ThisBlock()));
  uint32_t next = stream.Next();
  if (KeysOf(next) > 0) {
#pragma unroll
    for (int eight = 0; eight < Warp::kEights; ++eight) mine.Load(row_of(next, eight), raw[eight]);
  }
  if (kBlocks > 1) PrefetchRows(shared.keys, stream.first() + kTileKeys, stream.count());
  int slot = 0;
  for (;; slot ^= 1) {
    shared.notes[slot] = next;  // all say the same; that of two tiles before has been read
    if ((next & kEnd) != 0) break;
    if ((next & kFirst) != 0) {
      const Job job = JobOf<kM>(p, stream.job());
      mine.LoadQueries(p.q + (int64_t{job.t} * p.heads + job.head0) * kHeadDim, job.heads);
    }
    stream.AwaitScales();
    const uint32_t scales = mine.Scales(shared.keys, stream.first(), KeysOf(next));
    next = stream.Next();
    if (kBlocks == 1 && (next & kFirst) != 0) PrefetchQueries(p, JobOf<kM>(p, stream.job()));
    const bool more = KeysOf(next) > 0;
    const uint8_t* row = row_of(next, 0);
#pragma unroll
    for (int eight = 0; eight < Warp::kEights; ++eight) {
      typename Warp::Keys keys;
      mine.Widen(raw[eight], scales >> (16 * eight), keys);
      if (more) mine.Load(row, raw[eight]);
      if (eight + 1 < Warp::kEights) row = row_of(next, eight + 1);
      const typename Warp::Scores scores = mine.Multiply(keys);
      if (eight == 0) ptx::BarrierWait(kTaken, kThreads);
      mine.Put(keys, scores, eight, shared.tiles[slot], shared.heads.parts);
    }
    ptx::BarrierArrive(kFull, kThreads);
    if (kBlocks > 1) PrefetchRows(shared.keys, stream.first() + kTileKeys, stream.count());
  }
  ptx::BarrierWait(kTaken, kThreads);
  ptx::BarrierArrive(kFull, kThreads);
}

template <int kM>
__device__ __forceinline__ void EndSoftmax(const Parameters& p, HeadShare<kM>& share,
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
  share.inverse[turn][head] = most == kNoScore ? 0 : 1 / (total + sink);
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

// Sinks to where inverses will stand: they are far, and wanted when all wait for them.
template <int kM, int kBlocks>
__device__ __forceinline__ void TakeSinks(const Parameters& p, ClusterShare<kM, kBlocks>& cluster) {
  const int thread = ThisThread();
  const Job job = JobOf<kM>(p, ThisBlock());
  if (thread < job.heads) cluster.inverse[thread] = p.sink[job.head0 + thread];
}

// Weights and inverses of a cluster's heads, by as many threads.
template <int kM, int kBlocks>
__device__ __forceinline__ void JoinHeads(const Parameters& p, ClusterShare<kM, kBlocks>& cluster) {
  const int thread = ThisThread();
  if (thread >= 16 * kM) return;
  const Joined all = Join(cluster, thread);
  cluster.weights[thread] = all.weight;
  const Job job = JobOf<kM>(p, ThisBlock());
  if (thread >= job.heads) return;
  const float sink = Exp2(cluster.inverse[thread] * kLog2E - all.most);
  cluster.inverse[thread] = all.most == kNoScore ? 0 : 1 / (all.total + sink);
  if (p.lse == nullptr || ClusterRank() != 0) return;
  p.lse[int64_t{job.t} * p.heads + job.head0 + thread] = Lse(all.most, all.total);
}

// The end of a cluster's job, with all head warps of all its blocks.
template <int kM, int kBlocks>
__device__ __forceinline__ void EndTogether(const Parameters& p, Shared<kM, kBlocks>& shared,
                                            HeadTiles<kM>& mine) {
  using All = Slices<kM, kBlocks>;
  auto& cluster = shared.cluster;
  ClusterWait();  // all blocks are there
  const auto [most, total] = mine.TakeDenominator();
  if (mine.head() >= 0) {
    const uint32_t to = ptx::SharedAddress(&cluster.stats[ClusterRank()][mine.head()]);
#pragma unroll 1
    for (uint32_t i = 0; i < kBlocks; ++i) {
      ClusterStore(ClusterAddress(to, i), make_float2(most, total));
    }
  }
  ClusterArrive();
  ClusterWait();  // they have read their tiles
  JoinHeads(p, cluster);
  ptx::BarrierWait(kHeadsMeet, kHeadThreads);
  const int warp = ThisThread() / 32;
  const uint32_t to =
      ptx::SharedAddress(shared.tiles[0]) +
      (static_cast<int>(ClusterRank()) * All::kEach + warp % All::kEach) * All::kBytes;
  mine.SendSums(ClusterAddress(to, static_cast<uint32_t>(warp / All::kEach)), cluster.weights);
  ClusterArrive();
  ClusterWait();
  const Job job = JobOf<kM>(p, ThisBlock());
  AddSlices<kM, kBlocks>(shared.tiles[0], cluster.inverse, ThisThread(), job.heads,
                         p.out + (int64_t{job.t} * p.heads + job.head0) * kHeadDim,
                         {p.cos, p.sin, job.t * (kRopeDim / 2)});
}

template <int kM, int kBlocks>
__device__ __forceinline__ void AttendHeads(const Parameters& p, Shared<kM, kBlocks>& shared) {
  HeadTiles<kM> mine(&shared.heads, ThisThread());
  const uint32_t slots = ptx::SharedAddress(shared.tiles);
  int job = static_cast<int>(blockIdx.x);
  ptx::BarrierArrive(kTaken, kThreads);
  if (kBlocks > 1) TakeSinks(p, shared.cluster);
  for (int slot = 0;; slot ^= 1) {
    ptx::BarrierWait(kFull, kThreads);
    typename HeadTiles<kM>::Scores scores;
    mine.TakeScores(scores);
    const uint32_t note = shared.notes[slot];
    if ((note & kEnd) != 0) break;
    ptx::BarrierArrive(kTaken, kThreads);
    mine.Softmax(scores, KeysOf(note), p.scale, slot);
    if (kBlocks == 1 && (note & kLast) != 0) EndSoftmax<kM>(p, shared.heads, mine, job, slot);
    const uint32_t tile = slots + slot * kTileBytes;
    typename HeadTiles<kM>::Values values;
    mine.BeginValues(tile, values);
    ptx::BarrierWait(kHeadsMeet, kHeadThreads);
    if (KeysOf(note) > 0) mine.AddValues(tile, slot, values);
    if (kBlocks > 1 && (note & kLast) != 0) return EndTogether(p, shared, mine);
    if ((note & kLast) != 0) {
      EndValues<kM>(p, mine, job, slot);
      job += static_cast<int>(gridDim.x);
    }
  }
}

// kBlocks: of a cluster, which have the splits of a unit; 1: splits meet in the merge.
template <int kM, int kBlocks>
__global__ void __cluster_dims__(kBlocks, 1, 1) __launch_bounds__(kThreads, 1)
    SparseAttentionKernel(const __grid_constant__ Parameters p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared<kM, kBlocks>& shared = *reinterpret_cast<Shared<kM, kBlocks>*>(memory);
  const int thread = static_cast<int>(threadIdx.x);
  if constexpr (kBlocks > 1) ClusterArriveRelaxed();
  if (thread < kMaxKeySources) shared.keys.sources[thread] = p.sources[thread];
  __syncthreads();
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  if (thread < kHeadThreads) {
    ptx::GiveRegisters<kHeadRegisters<kBlocks>>();
    AttendHeads<kM, kBlocks>(p, shared);
  } else {
    ptx::TakeRegisters<kKeyRegisters<kBlocks>>();
    if (thread < kThreads - 2 * 32) {
      BringKeys<kM, false>(p, shared);
    } else {
      BringKeys<kM, true>(p, shared);
    }
  }
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

// The kernel by tiles of heads and blocks of a cluster.
template <int kM, int kBlocks>
void LaunchBlocks(const Parameters& p, int blocks, Stream& stream) {
  Launch({.name = "sparse_attention",
          .grid = dim3(static_cast<unsigned>(blocks)),
          .threads = kThreads,
          .shared_bytes = sizeof(Shared<kM, kBlocks>)},
         stream, SparseAttentionKernel<kM, kBlocks>, p);
}

// What a block has at once is 16·m heads of a token.
int32_t GroupsOf(const Parameters& p, int m) {
  return (p.heads + 16 * m - 1) / (16 * m);
}
void SetUnits(Parameters& p, int64_t tokens, int m) {
  p.jobs.groups = GroupsOf(p, m);
  p.jobs.units = static_cast<int32_t>(tokens * p.jobs.groups);
}

// The list of a token in so many parts, of whole `unit` keys.
void SetSplits(Parameters& p, int splits, int unit) {
  const int share = (p.jobs.columns + splits - 1) / splits;
  p.jobs.split_columns = std::max((share + unit - 1) / unit, 1) * unit;
  p.jobs.splits = splits;
}

// A block fills a multiprocessor. With fewer units than those, a cluster's blocks have a part of
// the lists each, if these are short; true: launched. One unit alone is faster by one tile a block
// and a merge.
template <int kM>
bool LaunchClusters(Parameters& p, Stream& stream) {
  constexpr int kMostKeys = 160;  // of a block, beyond which more blocks and a merge are faster
  const int64_t units = p.jobs.units;
  const int64_t room = Multiprocessors();
  // Clusters of eight and four do not fill all groups of multiprocessors.
  int splits = 1;
  if (8 * units <= room * 3 / 4) {
    splits = 8;
  } else if (4 * units <= room * 7 / 8) {
    splits = 4;
  } else if (2 * units <= room) {
    splits = 2;
  }
  if (units == 1 || splits == 1 || (splits == 8 && p.jobs.columns > kMostKeys * splits)) {
    return false;
  }
  SetSplits(p, splits, 1);
  const int blocks = p.jobs.units * splits;
  if (splits == 8) LaunchBlocks<kM, 8>(p, blocks, stream);
  if (splits == 4) LaunchBlocks<kM, 4>(p, blocks, stream);
  if (splits == 2) LaunchBlocks<kM, 2>(p, blocks, stream);
  return true;
}

// Otherwise as many jobs as there are multiprocessors, but no less than two tiles each, which are
// less work than the start and the merge cost; or one tile where most are idle even so.
template <int kM>
void LaunchJobs(Parameters& p, int64_t tokens, Stream& stream) {
  const int64_t idle = Multiprocessors() / p.jobs.units;
  const int64_t least = (idle > kMostSplits / 2 ? 1 : 2) * kTileKeys;
  const int wanted = static_cast<int>(
      std::max<int64_t>(1, std::min({idle, int64_t{kMostSplits}, p.jobs.columns / least})));
  SetSplits(p, wanted, kTileKeys);
  p.jobs.splits = std::max((p.jobs.columns + p.jobs.split_columns - 1) / p.jobs.split_columns, 1);
  Scratch scratch(stream);
  if (p.jobs.splits > 1) {
    p.sums = scratch.Take<float>(tokens * p.heads * p.jobs.splits * kHeadDim);
    p.stats = scratch.Take<SplitStats>(tokens * p.heads * p.jobs.splits);
  }
  LaunchBlocks<kM, 1>(p, std::min(p.jobs.units * p.jobs.splits, Multiprocessors()), stream);
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

template <int kM>
void Attend(Parameters p, int64_t tokens, Stream& stream) {
  SetUnits(p, tokens, kM);
  if (!LaunchClusters<kM>(p, stream)) LaunchJobs<kM>(p, tokens, stream);
}

// The same without the first tokens.
Parameters Behind(Parameters p, int64_t tokens) {
  p.q += tokens * p.heads * kHeadDim;
  p.out += tokens * p.heads * kHeadDim;
  if (p.lse != nullptr) p.lse += tokens * p.heads;
  if (p.cos != nullptr) p.cos += tokens * (kRopeDim / 2);
  if (p.sin != nullptr) p.sin += tokens * (kRopeDim / 2);
  for (DeviceKeySource& source : p.sources) source.index += tokens * source.columns;
  return p;
}

// A last round of few units takes as long as the others, with most multiprocessors idle: its tokens
// go by themselves, to share the idle ones.
template <int kM>
void AttendInRounds(const Parameters& p, int64_t tokens, Stream& stream) {
  const int64_t room = Multiprocessors(), groups = GroupsOf(p, kM);
  const int64_t last = (tokens * groups % room + groups - 1) / groups;
  if (last == 0 || 2 * last * groups > room || last == tokens) return Attend<kM>(p, tokens, stream);
  Attend<kM>(p, tokens - last, stream);
  Attend<kM>(Behind(p, tokens - last), last, stream);
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
  if (p.heads <= 16 || 8 * tokens * GroupsOf(p, 1) <= Multiprocessors() * 3 / 4) {
    AttendInRounds<1>(p, tokens, stream);
  } else {
    AttendInRounds<2>(p, tokens, stream);
  }
}

}  // namespace tandem::kernels::cuda
