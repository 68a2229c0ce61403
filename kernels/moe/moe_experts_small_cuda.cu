// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/common/cuda/launch.h"
#include "kernels/moe/moe_experts_small.h"
#include "kernels/moe/plan.cuh"
#include "kernels/moe/swiglu.cuh"
#include "kernels/moe/tile_pair.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

// Kernel 1 makes h[pair] = swiglu(w1·x, w3·x), kernel 2 y = Σ w2·h; plan.cuh says what a pair is.
struct Arguments {
  const Bf16* x = nullptr;  // [T, D]
  Routes routes;
  MatrixSet w1[2], w3[2], w2[2];  // routed, shared
  int32_t dim = 0, inner = 0, shared_inner = 0;
  bool prefetch = false;  // the shared expert's weights, before the wait
  float limit = 0;
  Bf16* h = nullptr;         // [T·K, I]
  Bf16* shared_h = nullptr;  // [T, J]
  Bf16* y = nullptr;         // [T, D]

  __device__ int tokens() const { return routes.tokens; }
  __device__ int pairs() const { return routes.tokens * routes.topk; }
};

constexpr int kGateWarps = 4;
constexpr int kGateThreads = 32 * kGateWarps;
constexpr int kGateBlocks = 4;              // a multiprocessor
constexpr int kTileColumn = kTileRows + 4;  // of a partial sum: eight lanes, eight bank groups
static_assert(kGateThreads >= kColumns * kTileRows);

struct GateSums {
  float part[kGateWarps][2][kColumns * kTileColumn];
};

// Sums the warps' parts in order and writes swiglu of them.
__device__ __forceinline__ void GateUpEnd(const Arguments& args, const float (&sum)[2][4],
                                          const Columns& columns, const Plan& plan, bool is_shared,
                                          int tile, GateSums& sums) {
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
  const int column = static_cast<int>(threadIdx.x) / kTileRows;
  const int row = static_cast<int>(threadIdx.x) % kTileRows;
  const int pair = __shfl_sync(0xFFFFFFFFu, columns.mine, column);
  if (column >= columns.count) return;
  float a = 0, b = 0;
#pragma unroll
  for (int w = 0; w < kGateWarps; ++w) {
    a += sums.part[w][0][column * kTileColumn + row];
    b += sums.part[w][1][column * kTileColumn + row];
  }
  if (args.w1[is_shared].fp4) a *= kFp4HalfScale, b *= kFp4HalfScale;
  const float out =
      SwigluOf(RoundBf16(a), RoundBf16(b), is_shared ? 1.0f : plan.weight[pair], args.limit);
  Bf16* h = is_shared ? args.shared_h + int64_t{pair} * args.shared_inner
                      : args.h + int64_t{pair} * args.inner;
  h[tile * kTileRows + row] = RoundToBf16(out);
}

// A row tile of h of one expert; the shared expert's come first, as they have twice the bytes.
struct Item {
  bool is_shared = true;
  int entry = 0;  // of the plan
  int expert = 0;
  int tile = 0;
  int begin = 0, end = 0;  // this warp's slots
};

__device__ __forceinline__ Item ItemAt(const Arguments& args, const Plan& plan, int number) {
  const int shared_tiles = args.shared_inner / kTileRows, tiles = args.inner / kTileRows;
  Item item;
  item.is_shared = number < shared_tiles;
  item.tile = number;
  if (!item.is_shared) {
    item.entry = (number - shared_tiles) / tiles;
    item.tile = (number - shared_tiles) % tiles;
    if (item.entry >= plan.count) return item;  // beyond the last one
    item.expert = plan.expert(item.entry);
  }
  const MatrixSet& w1 = args.w1[item.is_shared];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int share = (w1.groups + kGateWarps - 1) / kGateWarps;
  const int first = min(share * warp, w1.groups);
  item.begin = w1.slots_of(first);
  item.end = w1.slots_of(min(first + share, w1.groups));
  return item;
}

__device__ __forceinline__ Unit UnitAt(const Arguments& args, const Item& item, int slot) {
  return MakeUnit(args.w1[item.is_shared], args.w3[item.is_shared], item.expert, item.tile,
                  item.tile, slot, item.end - slot);
}

// Sets the shared w2 on its way to L2. The same for routed experts cost 3 µs at T=1 on an H100.
__device__ __forceinline__ void PrefetchDown(const Arguments& args, const Item& item) {
  PrefetchShare(args.w2[1], 0, item.tile * kGateWarps + static_cast<int>(threadIdx.x) / 32,
                args.shared_inner / kTileRows * kGateWarps);
}

// The warps of a block share K of an item; blocks take items in turn, the shared expert's early.
__global__ void __launch_bounds__(kGateThreads)
    GateUpKernel(const __grid_constant__ Arguments args) {
  extern __shared__ __align__(16) uint8_t shared[];
  __shared__ Plan plan;
  __shared__ GateSums sums[2];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int shared_tiles = args.shared_inner / kTileRows, tiles = args.inner / kTileRows;
  const Staged staged(shared + warp * Staged::Bytes(args.tokens()), args.tokens());
  TilePair stream;
  Item item;
  Unit unit;
  int number = static_cast<int>(blockIdx.x);
  const bool early = number < shared_tiles;
  if (early) {
    item = ItemAt(args, plan, number);
    unit = UnitAt(args, item, item.begin);
    stream.Start(unit);
    if (args.prefetch) {
      stream.PrefetchRest(unit, item.end - item.begin);
      PrefetchDown(args, item);
    }
  }
  ptx::GridDependencyWait();
  // Every block has waited here: the next kernel may read what this one found written.
  ptx::GridDependencyLaunch();
  LoadRoutes(args.routes, plan);
  __syncthreads();
  if (warp == 0) GroupPairs(args.routes, plan);
  __syncthreads();
  const int count = shared_tiles + plan.count * tiles;
  if (!early) {
    item = ItemAt(args, plan, number);
    unit = UnitAt(args, item, item.begin);
    stream.Start(unit);
  }
  GateSums* to = &sums[0];
  while (number < count) {
    Columns columns{args.tokens(), static_cast<int>(threadIdx.x) % kColumns};
    if (!item.is_shared) columns = ColumnsOf(plan, item.entry, args.tokens());
    const int row = item.is_shared ? columns.mine : columns.mine / args.routes.topk;
    number += static_cast<int>(gridDim.x);
    float sum[2][4] = {};
    for (int slot = item.begin; slot < item.end || slot == item.begin; slot += kUnitSlots) {
      Unit next;
      if (slot + kUnitSlots < item.end) {
        next = UnitAt(args, item, slot + kUnitSlots);
      } else {
        if (item.is_shared && !args.prefetch) PrefetchDown(args, item);
        const Item next_item = ItemAt(args, plan, number);
        next = UnitAt(args, next_item, next_item.begin);
      }
      StageRows(args.x, args.dim, row, columns.count, unit, staged);
      stream.Run(unit, next, columns.count, staged, sum);
      unit = next;
    }
    GateUpEnd(args, sum, columns, plan, item.is_shared, item.tile, *to);
    to = to == &sums[0] ? &sums[1] : &sums[0];  // the other one may still be read
    item = ItemAt(args, plan, number);          // again, rather than kept in registers
  }
}

// w2: a warp's jobs are parts of K of an expert, so many by format that they weigh the same.
constexpr int kFp4Parts = 2, kFp8Parts = 4;
constexpr int kDownRows = 2 * kTileRows;  // of a block

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
  if (!job.is_shared) job.expert = plan.expert(jobs.entry(number));
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
  for (int o = static_cast<int>(threadIdx.x); o < kDownRows * args.tokens();
       o += static_cast<int>(blockDim.x)) {
    const int t = o / kDownRows, row = o % kDownRows;
    float total = 0;
    for (int k = 0; k < plan.used[t]; ++k) {
      const int pair = plan.order[t * args.routes.topk + k];
      float sum = 0;
      for (int i = 0; i < jobs.parts; ++i) sum += routed[(i * pairs + pair) * kDownRows + row];
      total += RoundBf16(sum * scale);
    }
    float sum = 0;
    for (int i = 0; i < jobs.shared_parts; ++i) {
      sum += shared[(i * args.tokens() + t) * kDownRows + row];
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
  // Before the wait: the routes were written before the kernel in front let this one begin.
  LoadRoutes(args.routes, plan);
  __syncthreads();
  if (warp == 0) GroupPairs(args.routes, plan);
  if (warp == 1) OrderPairs(args.routes, plan);
  __syncthreads();
  const int shared_parts = args.w2[1].fp4 ? kFp4Parts : kFp8Parts;
  const int parts = args.w2[0].fp4 ? kFp4Parts : kFp8Parts;
  const Jobs jobs{
      .shared_parts = shared_parts, .parts = parts, .count = shared_parts + parts * plan.count};
  float* routed_sums = reinterpret_cast<float*>(shared + kWarps * Staged::Bytes(args.tokens()));
  float* shared_sums = routed_sums + jobs.parts * pairs * kDownRows;
  const Staged staged(shared + warp * Staged::Bytes(args.tokens()), args.tokens());

  Job job = JobAt(args, plan, jobs, warp);
  TilePair stream;
  Unit unit = UnitAt(args, job, job.begin);
  stream.Start(unit);
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  for (int number = warp; number < jobs.count; number += kWarps) {
    const bool is_shared = job.is_shared;
    Columns columns{args.tokens(), lane % kColumns};
    if (!is_shared) columns = ColumnsOf(plan, jobs.entry(number), args.tokens());
    const Bf16* h = is_shared ? args.shared_h : args.h;
    const int inner = is_shared ? args.shared_inner : args.inner;
    float sum[2][4] = {};
    for (int slot = job.begin; slot < job.end || slot == job.begin; slot += kUnitSlots) {
      const int after = slot + kUnitSlots;
      Unit next;
      if (after < job.end) {
        next = UnitAt(args, job, after);
      } else {
        const Job next_job = JobAt(args, plan, jobs, number + kWarps);
        next = UnitAt(args, next_job, next_job.begin);
      }
      StageRows(h, inner, columns.mine, columns.count, unit, staged);
      stream.Run(unit, next, columns.count, staged, sum);
      unit = next;
    }
    float* to = is_shared ? shared_sums + jobs.part(number) * args.tokens() * kDownRows
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
    job = JobAt(args, plan, jobs, number + kWarps);  // again, rather than kept in registers
  }
  __syncthreads();
  DownEnd(args, plan, jobs, routed_sums, shared_sums);
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
  const int64_t tokens = args.routes.tokens, pairs = tokens * args.routes.topk;
  const int64_t staged = Staged::Bytes(tokens);
  // A block an item balances best, but where tokens are to be routed, none should for one item.
  const int64_t items = (args.shared_inner + pairs * args.inner) / kTileRows;
  const bool stay = args.routes.scores != nullptr && tokens > 1;
  const int64_t gate_blocks =
      stay ? std::min<int64_t>(items, kGateBlocks * Multiprocessors()) : items;
  Launch({.name = "moe_experts gate_up",
          .grid = dim3(static_cast<unsigned>(gate_blocks)),
          .threads = kGateThreads,
          .shared_bytes = kGateWarps * staged},
         stream, GateUpKernel, args);
  const int64_t sums = (args.w2[0].fp4 ? kFp4Parts : kFp8Parts) * pairs +
                       (args.w2[1].fp4 ? kFp4Parts : kFp8Parts) * tokens;
  const int64_t sum_bytes = int64_t{sizeof(float)} * kDownRows * sums;
  const int64_t blocks = args.dim / kDownRows;
  const bool wide =
      blocks <= kWideBlocks && 16 * staged + sum_bytes + int64_t{sizeof(Plan)} <= kMaxSharedBytes;
  const int warps = wide ? 16 : 8;
  Launch({.name = "moe_experts down",
          .grid = dim3(static_cast<unsigned>(blocks)),
          .threads = 32 * warps,
          .shared_bytes = warps * staged + sum_bytes},
         stream, wide ? DownKernel<16> : DownKernel<8>, args);
}

}  // namespace

void MoeExpertsSmall(const MoeExpertsArgs& args, const Routes& routes, Stream& stream) {
  const int64_t tokens = args.x.shape[0], dim = args.x.shape[1];
  KERNEL_CHECK_LE(tokens, SmallTokens(routes.topk));
  KERNEL_CHECK_MULTIPLE(dim, kGroupColumns);
  if (tokens == 0) return;
  const int64_t count = args.routed.shape[0], shared_inner = args.shared.w2.k;
  const int64_t inner = count > 0 ? args.routed[0].w2.k : 0, pairs = tokens * routes.topk;
  Scratch scratch(stream);
  const Arguments arguments{.x = args.x.data,
                            .routes = routes,
                            .w1 = {RoutedSet(args, &ExpertWeights::w1), SetOf(args.shared.w1, 0)},
                            .w3 = {RoutedSet(args, &ExpertWeights::w3), SetOf(args.shared.w3, 0)},
                            .w2 = {RoutedSet(args, &ExpertWeights::w2), SetOf(args.shared.w2, 0)},
                            .dim = static_cast<int32_t>(dim),
                            .inner = static_cast<int32_t>(inner),
                            .shared_inner = static_cast<int32_t>(shared_inner),
                            .prefetch = tokens > 1,
                            .limit = args.limit,
                            .h = scratch.Take<Bf16>(pairs * inner),
                            .shared_h = scratch.Take<Bf16>(tokens * shared_inner),
                            .y = args.y.data};
  LaunchKernels(arguments, stream);
}

}  // namespace tandem::kernels::cuda
