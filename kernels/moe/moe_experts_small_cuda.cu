// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/moe/moe_experts_small.h"
#include "kernels/moe/swiglu.cuh"
#include "kernels/moe/tile_pair.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

// Kernel 1 makes h[pair] = swiglu(w1·x, w3·x), kernel 2 y = Σ w2·h. A pair is a slot of `experts`,
// token · K + k; the first pair of an expert stands for all of them (FirstOf).
struct Arguments {
  const Bf16* x = nullptr;           // [T, D]
  const int32_t* experts = nullptr;  // [T, K]
  const float* weight = nullptr;     // [T, K]
  int32_t tokens = 0, topk = 0;
  int32_t first_expert = 0, expert_count = 0;
  MatrixSet w1[2], w3[2], w2[2];  // routed, shared
  int32_t dim = 0, inner = 0, shared_inner = 0;
  float limit = 0;
  Bf16* h = nullptr;         // [T·K, I]
  Bf16* shared_h = nullptr;  // [T, J]
  Bf16* y = nullptr;         // [T, D]

  __device__ int pairs() const { return tokens * topk; }
};

// An expert of a pair, counted from the first one here; −1: none of ours.
__device__ __forceinline__ int ExpertOf(const Arguments& args, int pair) {
  if (pair >= args.pairs()) return -1;
  const int e = args.experts[pair] - args.first_expert;
  return e >= 0 && e < args.expert_count ? e : -1;
}

// The lane's set bit number `n` of a mask of pairs.
__device__ __forceinline__ int NthPair(uint64_t mask, int n) {
  for (int i = 0; i < n; ++i) mask &= mask - 1;
  return mask == 0 ? 0 : __ffsll(static_cast<int64_t>(mask)) - 1;
}

// What a product's columns are: `count` pairs (or tokens), number j in lane j.
struct Columns {
  int count = 0;
  int mine = 0;
};

constexpr int kGateWarps = 8;
constexpr int kGateThreads = 32 * kGateWarps;
constexpr int kTileColumn = kTileRows + 4;  // of a partial sum: eight lanes, eight bank groups

// The pairs that block's pair `p` stands for: those of its expert from p on, at most eight; none if
// an earlier pair stands for p. Every lane gets the same count and expert.
__device__ __forceinline__ Columns PairsOf(const Arguments& args, int p, int& expert) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int low = ExpertOf(args, lane), high = ExpertOf(args, lane + 32);
  expert = __shfl_sync(0xFFFFFFFFu, p < 32 ? low : high, p % 32);
  const uint64_t same = __ballot_sync(0xFFFFFFFFu, low == expert) |
                        (uint64_t{__ballot_sync(0xFFFFFFFFu, high == expert)} << 32);
  const int before = __popcll(same & ((uint64_t{1} << p) - 1));
  if (expert < 0 || before % kColumns != 0) return {};
  const uint64_t rest = same >> p << p;
  return {min(__popcll(rest), kColumns), NthPair(rest, lane % kColumns)};
}

// Sums the warps' parts in order and writes swiglu of them.
__device__ __forceinline__ void GateUpEnd(const Arguments& args, const float (&sum)[2][4],
                                          const Columns& columns, bool is_shared, int tile) {
  __shared__ float part[kGateWarps][2][kColumns * kTileColumn];
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, c = lane % 4;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float* at = part[threadIdx.x / 32][i] + 2 * c * kTileColumn + g;
    at[0] = sum[i][0];
    at[kTileColumn] = sum[i][1];
    at[8] = sum[i][2];
    at[kTileColumn + 8] = sum[i][3];
  }
  __syncthreads();
  const int column = static_cast<int>(threadIdx.x) / kTileRows;
  const int row = static_cast<int>(threadIdx.x) % kTileRows;
  const int pair = __shfl_sync(0xFFFFFFFFu, columns.mine, column % kColumns);
  if (column >= columns.count) return;
  float a = 0, b = 0;
#pragma unroll
  for (int w = 0; w < kGateWarps; ++w) {
    a += part[w][0][column * kTileColumn + row];
    b += part[w][1][column * kTileColumn + row];
  }
  if (args.w1[is_shared].fp4) a *= kFp4HalfScale, b *= kFp4HalfScale;
  const Bf16 out =
      SwigluOf(RoundBf16(a), RoundBf16(b), is_shared ? 1.0f : args.weight[pair], args.limit);
  Bf16* h = is_shared ? args.shared_h + int64_t{pair} * args.shared_inner
                      : args.h + int64_t{pair} * args.inner;
  h[tile * kTileRows + row] = out;
}

// A block makes 16 rows of h for one expert: its warps share K. Blocks of the shared expert come
// first, as they have twice the bytes; they may load before the kernel in front has ended.
__global__ void __launch_bounds__(kGateThreads, 2)
    GateUpKernel(const __grid_constant__ Arguments args) {
  extern __shared__ __align__(16) uint8_t shared[];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int shared_tiles = args.shared_inner / kTileRows, tiles = args.inner / kTileRows;
  const bool is_shared = static_cast<int>(blockIdx.x) < shared_tiles;
  const int routed = static_cast<int>(blockIdx.x) - shared_tiles;
  const int tile = is_shared ? static_cast<int>(blockIdx.x) : routed % tiles;
  Columns columns{.count = args.tokens, .mine = lane % kColumns};
  int expert = 0;
  if (!is_shared) {
    ptx::GridDependencyWait();
    columns = PairsOf(args, routed / tiles, expert);
    if (columns.count == 0) return;
  }
  const MatrixSet &w1 = args.w1[is_shared], &w3 = args.w3[is_shared];
  const int share = (w1.groups + kGateWarps - 1) / kGateWarps;
  const int first = min(share * warp, w1.groups), last = min(first + share, w1.groups);
  const int begin = w1.slots_of(first), end = w1.slots_of(last);
  TilePair stream;
  Unit unit = MakeUnit(w1, w3, expert, tile, tile, begin, end - begin);
  stream.Start(unit);
  if (is_shared) ptx::GridDependencyWait();
  // Here every block has waited, so that the next kernel may read what this one found written.
  ptx::GridDependencyLaunch();
  const int token = is_shared ? columns.mine : columns.mine / args.topk;
  const Staged staged(shared + warp * Staged::Bytes(args.tokens), args.tokens);
  float sum[2][4] = {};
  for (int slot = begin; slot < end; slot += kUnitSlots) {
    const Unit next =
        MakeUnit(w1, w3, expert, tile, tile, slot + kUnitSlots, max(end - slot - kUnitSlots, 0));
    StageRows(args.x, args.dim, token, columns.count, unit, staged);
    stream.Run(unit, next, columns.count, staged, sum);
    unit = next;
  }
  GateUpEnd(args, sum, columns, is_shared, tile);
}

// w2: a warp's jobs are parts of K of an expert, so many by format that they weigh the same.
constexpr int kFp4Parts = 2, kFp8Parts = 4;
constexpr int kDownRows = 2 * kTileRows;  // of a block

// The experts of a step, found once a block.
struct Plan {
  int count = 0;               // of pairs that stand for others
  int8_t first[kSmallPairs];   // those pairs
  uint64_t same[kSmallPairs];  // and all the pairs that each stands for
  int8_t order[kSmallPairs];   // [T, K] a token's pairs by ascending expert
  int8_t used[kSmallTokens];   // how many of them are ours
  int32_t experts[kSmallPairs];
};

// By one warp.
__device__ __forceinline__ void MakePlan(const Arguments& args, Plan& plan) {
  const int lane = static_cast<int>(threadIdx.x) % 32, pairs = args.pairs();
  const int expert[2] = {ExpertOf(args, lane), ExpertOf(args, lane + 32)};
  uint64_t same[2] = {0, 0};
  for (int p = 0; p < pairs; ++p) {
    const int e = __shfl_sync(0xFFFFFFFFu, p < 32 ? expert[0] : expert[1], p % 32);
    same[0] |= uint64_t{e == expert[0]} << p;
    same[1] |= uint64_t{e == expert[1]} << p;
  }
  int count = 0;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int p = lane + 32 * i;
    if (p < pairs) plan.experts[p] = expert[i];
    const int before = __popcll(same[i] & ((uint64_t{1} << p) - 1));
    const bool first = expert[i] >= 0 && before % kColumns == 0;
    const uint32_t firsts = __ballot_sync(0xFFFFFFFFu, first);
    if (first) {
      const int at = count + __popc(firsts & ((1u << lane) - 1));
      plan.first[at] = static_cast<int8_t>(p);
      plan.same[at] = same[i] >> p << p;
    }
    count += __popc(firsts);
  }
  if (lane == 0) plan.count = count;
  if (lane < args.tokens) plan.used[lane] = 0;
  __syncwarp();
  for (int p = lane; p < pairs; p += 32) {
    const int t = p / args.topk, e = plan.experts[p];
    if (e < 0) continue;
    int rank = 0, used = 0;
    for (int q = t * args.topk; q < (t + 1) * args.topk; ++q) {
      const int other = plan.experts[q];
      rank += other >= 0 && (other < e || (other == e && q < p));
      used += other >= 0;
    }
    plan.order[t * args.topk + rank] = static_cast<int8_t>(p);
    plan.used[t] = static_cast<int8_t>(used);
  }
}

// Jobs 0 .. shared_parts−1 are the shared expert's, then `parts` for each expert of the plan.
struct Jobs {
  int shared_parts = 0, parts = 0, count = 0;

  __device__ bool is_shared(int job) const { return job < shared_parts; }
  __device__ int entry(int job) const { return (job - shared_parts) / parts; }  // of the plan
  __device__ int part(int job) const { return is_shared(job) ? job : (job - shared_parts) % parts; }
};

// Where a job's weights are; beyond the last job none.
struct Job {
  bool is_shared = false;
  int expert = 0;
  int begin = 0, end = 0;  // slots
};

__device__ __forceinline__ Job JobAt(const Arguments& args, const Plan& plan, const Jobs& jobs,
                                     int number) {
  if (number >= jobs.count) return {};
  Job job;
  job.is_shared = jobs.is_shared(number);
  if (!job.is_shared) job.expert = plan.experts[plan.first[jobs.entry(number)]];
  const MatrixSet& w2 = args.w2[job.is_shared];
  const int parts = job.is_shared ? jobs.shared_parts : jobs.parts;
  const int share = (w2.groups + parts - 1) / parts;
  const int first = min(share * jobs.part(number), w2.groups);
  job.begin = w2.slots_of(first);
  job.end = w2.slots_of(min(first + share, w2.groups));
  return job;
}

__device__ __forceinline__ Unit UnitAt(const Arguments& args, const Job& job, int slot) {
  const int tile = 2 * static_cast<int>(blockIdx.x);
  const MatrixSet& w2 = args.w2[job.is_shared];
  return MakeUnit(w2, w2, job.expert, tile, tile + 1, slot, job.end - slot);
}

// y of 32 rows: parts, then experts in ascending order, then the shared one.
__device__ __forceinline__ void DownEnd(const Arguments& args, const Plan& plan, const Jobs& jobs,
                                        const float* routed, const float* shared) {
  const int pairs = args.pairs();
  const float scale = args.w2[0].fp4 ? kFp4HalfScale : 1.0f;
  const float shared_scale = args.w2[1].fp4 ? kFp4HalfScale : 1.0f;
  for (int o = static_cast<int>(threadIdx.x); o < kDownRows * args.tokens;
       o += static_cast<int>(blockDim.x)) {
    const int t = o / kDownRows, row = o % kDownRows;
    float total = 0;
    for (int k = 0; k < plan.used[t]; ++k) {
      const int pair = plan.order[t * args.topk + k];
      float sum = 0;
      for (int i = 0; i < jobs.parts; ++i) sum += routed[(i * pairs + pair) * kDownRows + row];
      total += RoundBf16(sum * scale);
    }
    float sum = 0;
    for (int i = 0; i < jobs.shared_parts; ++i) {
      sum += shared[(i * args.tokens + t) * kDownRows + row];
    }
    args.y[int64_t{t} * args.dim + int64_t{blockIdx.x} * kDownRows + row] =
        ToBf16(total + RoundBf16(sum * shared_scale));
  }
}

// A block makes 32 rows of y.
template <int kWarps>
__global__ void __launch_bounds__(32 * kWarps) DownKernel(const __grid_constant__ Arguments args) {
  extern __shared__ __align__(16) uint8_t shared[];
  __shared__ Plan plan;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int pairs = args.pairs();
  // Read before the wait, as weights are: the router's kernel had ended before any block of the
  // kernel in front of this one let this one begin.
  if (warp == 0) MakePlan(args, plan);
  __syncthreads();
  const int shared_parts = args.w2[1].fp4 ? kFp4Parts : kFp8Parts;
  const int parts = args.w2[0].fp4 ? kFp4Parts : kFp8Parts;
  const Jobs jobs{
      .shared_parts = shared_parts, .parts = parts, .count = shared_parts + parts * plan.count};
  float* routed_sums = reinterpret_cast<float*>(shared + kWarps * Staged::Bytes(args.tokens));
  float* shared_sums = routed_sums + jobs.parts * pairs * kDownRows;
  const Staged staged(shared + warp * Staged::Bytes(args.tokens), args.tokens);

  Job job = JobAt(args, plan, jobs, warp);
  TilePair stream;
  Unit unit = UnitAt(args, job, job.begin);
  stream.Start(unit);
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  for (int number = warp; number < jobs.count; number += kWarps) {
    const Job next_job = JobAt(args, plan, jobs, number + kWarps);
    const bool is_shared = job.is_shared;
    Columns columns{.count = args.tokens, .mine = lane % kColumns};
    if (!is_shared) {
      const uint64_t same = plan.same[jobs.entry(number)];
      columns = {min(__popcll(same), kColumns), NthPair(same, lane % kColumns)};
    }
    const Bf16* h = is_shared ? args.shared_h : args.h;
    const int inner = is_shared ? args.shared_inner : args.inner;
    float sum[2][4] = {};
    for (int slot = job.begin; slot < job.end || slot == job.begin; slot += kUnitSlots) {
      const int after = slot + kUnitSlots;
      const Unit next =
          after < job.end ? UnitAt(args, job, after) : UnitAt(args, next_job, next_job.begin);
      StageRows(h, inner, columns.mine, columns.count, unit, staged);
      stream.Run(unit, next, columns.count, staged, sum);
      unit = next;
    }
    float* to = is_shared ? shared_sums + jobs.part(number) * args.tokens * kDownRows
                          : routed_sums + jobs.part(number) * pairs * kDownRows;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int column = 2 * (lane % 4) + j;
      const int pair = __shfl_sync(0xFFFFFFFFu, columns.mine, column);
      if (column >= columns.count) continue;
      float* at = to + pair * kDownRows + lane / 4;
      at[0] = sum[0][j];
      at[8] = sum[0][2 + j];
      at[16] = sum[1][j];
      at[24] = sum[1][2 + j];
    }
    job = next_job;
  }
  __syncthreads();
  DownEnd(args, plan, jobs, routed_sums, shared_sums);
}

MatrixSet SetOf(const LinearWeight& weight, int64_t stride) {
  KERNEL_CHECK(weight.prepared != nullptr);
  KERNEL_CHECK(weight.format != WeightFormat::kBf16);
  KERNEL_CHECK_MULTIPLE(weight.k, kGroupColumns);
  return {.prepared = weight.prepared,
          .stride = stride,
          .scale_offset = FragmentScaleOffset(weight.format, weight.n, weight.k),
          .loads = static_cast<int32_t>(LoadsPerRow(weight.format, weight.k)),
          .groups = static_cast<int32_t>(weight.k / kGroupColumns),
          .fp4 = weight.format == WeightFormat::kFp4};
}

MatrixSet RoutedSet(const MoeExpertsArgs& args, LinearWeight ExpertWeights::*matrix) {
  if (args.routed.shape[0] == 0) return {};
  const LinearWeight& zero = args.routed[0].*matrix;
  const int64_t count = args.routed.shape[0];
  const int64_t stride = count > 1 ? (args.routed[1].*matrix).prepared - zero.prepared : 0;
  for (int64_t e = 0; e < count; ++e) {
    const LinearWeight& weight = args.routed[e].*matrix;
    KERNEL_CHECK(weight.prepared == zero.prepared + e * stride);
    KERNEL_CHECK(weight.format == zero.format && weight.n == zero.n && weight.k == zero.k);
  }
  return SetOf(zero, stride);
}

// Up to so many blocks, one of sixteen warps a multiprocessor gives more warps than two of eight.
constexpr int64_t kWideBlocks = 160;

void LaunchKernels(const Arguments& args, Stream& stream) {
  const int64_t pairs = int64_t{args.tokens} * args.topk, staged = Staged::Bytes(args.tokens);
  // Every pair may have an expert of its own; the blocks of one that has not end at once.
  Launch({.name = "moe_experts gate_up",
          .grid = dim3(static_cast<unsigned>((args.shared_inner + pairs * args.inner) / kTileRows)),
          .threads = kGateThreads,
          .shared_bytes = kGateWarps * staged},
         stream, GateUpKernel, args);
  const int64_t sums = (args.w2[0].fp4 ? kFp4Parts : kFp8Parts) * pairs +
                       (args.w2[1].fp4 ? kFp4Parts : kFp8Parts) * args.tokens;
  const int64_t sum_bytes = int64_t{sizeof(float)} * kDownRows * sums;
  const int64_t blocks = args.dim / kDownRows;
  constexpr int64_t kStatic = 2048;  // more than the plan takes
  const bool wide = blocks <= kWideBlocks && 16 * staged + sum_bytes + kStatic <= kMaxSharedBytes;
  const int warps = wide ? 16 : 8;
  Launch({.name = "moe_experts down",
          .grid = dim3(static_cast<unsigned>(blocks)),
          .threads = 32 * warps,
          .shared_bytes = warps * staged + sum_bytes},
         stream, wide ? DownKernel<16> : DownKernel<8>, args);
}

}  // namespace

void MoeExpertsSmall(const MoeExpertsArgs& args, Stream& stream) {
  const int64_t tokens = args.x.shape[0], topk = args.experts.shape[1], dim = args.x.shape[1];
  KERNEL_CHECK_LE(tokens, SmallTokens(topk));
  KERNEL_CHECK_MULTIPLE(dim, kGroupColumns);
  if (tokens == 0) return;
  const int64_t count = args.routed.shape[0], shared_inner = args.shared.w2.k;
  const int64_t inner = count > 0 ? args.routed[0].w2.k : 0;
  Scratch scratch(stream);
  LaunchKernels({.x = args.x.data,
                 .experts = args.experts.data,
                 .weight = args.weight.data,
                 .tokens = static_cast<int32_t>(tokens),
                 .topk = static_cast<int32_t>(topk),
                 .first_expert = static_cast<int32_t>(args.first_expert),
                 .expert_count = static_cast<int32_t>(count),
                 .w1 = {RoutedSet(args, &ExpertWeights::w1), SetOf(args.shared.w1, 0)},
                 .w3 = {RoutedSet(args, &ExpertWeights::w3), SetOf(args.shared.w3, 0)},
                 .w2 = {RoutedSet(args, &ExpertWeights::w2), SetOf(args.shared.w2, 0)},
                 .dim = static_cast<int32_t>(dim),
                 .inner = static_cast<int32_t>(inner),
                 .shared_inner = static_cast<int32_t>(shared_inner),
                 .limit = args.limit,
                 .h = scratch.Take<Bf16>(tokens * topk * inner),
                 .shared_h = scratch.Take<Bf16>(tokens * shared_inner),
                 .y = args.y.data},
                stream);
}

}  // namespace tandem::kernels::cuda
