// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/common/cuda/launch.h"
#include "kernels/moe/moe_experts_small.h"
#include "kernels/moe/plan.cuh"
#include "kernels/moe/row_input.cuh"
#include "kernels/moe/staged_input.cuh"
#include "kernels/moe/swiglu.cuh"
#include "kernels/moe/tile_pair.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

// Kernel 1 makes h[pair] = swiglu(w1·x, w3·x), kernel 2 y = Σ w2·h; plan.cuh says what a pair is.
struct Arguments {
  HalfRows x;  // [T, D]
  Routes routes;
  int32_t* chosen = nullptr;       // [T, K] experts for the second kernel, where the first chooses
  float* chosen_weight = nullptr;  // [T, K]
  MatrixSet w1[2], w3[2], w2[2];   // routed, shared
  int32_t dim = 0, inner = 0, shared_inner = 0;
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

// A row tile of h of one expert; the shared expert's come first, as they have twice the bytes.
struct Item {
  int entry = -1;  // of the plan; −1: the shared expert
  int tile = 0;
  int first = 0;  // of this warp's groups
  int slots = 0;
  bool fp4 = false;

  __device__ bool is_shared() const { return entry < 0; }
};

// Item `number`; returns what this warp reads of it.
__device__ __forceinline__ Part ItemAt(const Arguments& args, const Plan& plan, int number,
                                       Item& item) {
  const int shared_tiles = args.shared_inner / kTileRows, tiles = args.inner / kTileRows;
  item = {.tile = number};
  int expert = 0;
  if (number >= shared_tiles) {
    item.entry = (number - shared_tiles) / tiles;
    item.tile = (number - shared_tiles) - item.entry * tiles;
    if (item.entry >= plan.count) return {};  // beyond the last one
    expert = plan.expert(item.entry);
  }
  const MatrixSet& w1 = args.w1[item.is_shared()];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int share = (w1.groups + kGateWarps - 1) / kGateWarps;
  item.first = min(share * warp, w1.groups);
  const Part part = MakePart(w1, args.w3[item.is_shared()], expert, item.tile, item.tile,
                             item.first, min(item.first + share, w1.groups));
  item.slots = part.slots;
  item.fp4 = part.fp4;
  return part;
}

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
  const int pair = columns.of(column);
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

// Before the wait: the shared expert's weights. Its w2 goes to L2. The same for routed experts
// cost 3 µs at T=1 on an H100.
__device__ __forceinline__ void StartShared(const Arguments& args, const Part& part, int tile,
                                            TilePair& stream) {
  stream.Start(part);
  TilePair::PrefetchRest(part);
  PrefetchShare(args.w2[1], 0, tile * kGateWarps + static_cast<int>(threadIdx.x) / 32,
                args.shared_inner / kTileRows * kGateWarps);
}

// The list of what was chosen, by one block, before the next kernel may begin.
__device__ __forceinline__ void PublishChoice(const Arguments& args, const Plan& plan) {
  const int p = static_cast<int>(threadIdx.x);
  if (p < args.pairs()) {
    args.chosen[p] = plan.experts[p] < 0 ? -1 : plan.experts[p] + args.routes.first_expert;
    args.chosen_weight[p] = plan.weight[p];
  }
  __threadfence();
  __syncthreads();
}

// The warps of a block share K of an item; blocks take items in turn, the shared expert's early.
__global__ void __launch_bounds__(kGateThreads, kGateBlocks)
    GateUpKernel(const __grid_constant__ Arguments args) {
  __shared__ Plan plan;
  __shared__ GateSums sums[2];
  const int shared_tiles = args.shared_inner / kTileRows;
  TilePair stream;
  Item item;
  int number = static_cast<int>(blockIdx.x);
  const bool early = number < shared_tiles;
  if (early) {
    const Part part = ItemAt(args, plan, number, item);
    StartShared(args, part, item.tile, stream);
  }
  ptx::GridDependencyWait();
  MakePlan<true, false>(args.routes, plan);
  if (blockIdx.x == 0 && args.chosen != nullptr) PublishChoice(args, plan);
  // Every block has waited here: the next kernel may read what this one found written.
  ptx::GridDependencyLaunch();
  if (!early) stream.Start(ItemAt(args, plan, number, item));
  // The count is read again, rather than kept in a register.
  for (int turn = 0; number < shared_tiles + plan.count * (args.inner / kTileRows); ++turn) {
    const bool is_shared = item.is_shared();
    const Columns columns =
        is_shared ? TokenColumns(args.tokens()) : ColumnsOf(plan, item.entry, args.tokens());
    const RowInput input(args.x, args.dim, columns, is_shared ? 1 : args.routes.topk, item.first);
    const int tile = item.tile;
    number += static_cast<int>(gridDim.x);
    float sum[2][4] = {};
    stream.Run(
        item.slots, item.fp4, [&] { return ItemAt(args, plan, number, item); }, input, sum);
    GateUpEnd(args, sum, columns, plan, is_shared, tile, sums[turn % 2]);  // 1: may still be read
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

// Groups first .. last−1 of an expert; beyond the last job none.
struct Job {
  bool is_shared = false;
  bool fp4 = false;
  int first = 0, last = 0;
  int slots = 0;
};

// Job `number`; returns what it reads.
__device__ __forceinline__ Part JobAt(const Arguments& args, const Plan& plan, const Jobs& jobs,
                                      int number, Job& job) {
  job = {};
  if (number >= jobs.count) return {};
  job.is_shared = jobs.is_shared(number);
  const int expert = job.is_shared ? 0 : plan.expert(jobs.entry(number));
  const MatrixSet& w2 = args.w2[job.is_shared];
  const int parts = job.is_shared ? jobs.shared_parts : jobs.parts;
  const int share = (w2.groups + parts - 1) / parts;
  job.first = min(share * jobs.part(number), w2.groups);
  job.last = min(job.first + share, w2.groups);
  const int tile = 2 * static_cast<int>(blockIdx.x);
  const Part part = MakePart(w2, w2, expert, tile, tile + 1, job.first, job.last);
  job.slots = part.slots;
  job.fp4 = part.fp4;
  return part;
}

// y of 32 rows: parts, then experts in ascending order, then the shared one; a warp a token.
__device__ __forceinline__ void DownEnd(const Arguments& args, const Plan& plan, const Jobs& jobs,
                                        const float* routed, const float* shared) {
  constexpr int kAtOnce = 4;  // pairs
  const int row = static_cast<int>(threadIdx.x) % kDownRows, pairs = args.pairs();
  const int warps = static_cast<int>(blockDim.x) / kDownRows;
  const float scale = args.w2[0].fp4 ? kFp4HalfScale : 1.0f;
  const float shared_scale = args.w2[1].fp4 ? kFp4HalfScale : 1.0f;
#pragma unroll 1
  for (int t = static_cast<int>(threadIdx.x) / kDownRows; t < args.tokens(); t += warps) {
    const int used = plan.used[t];
    float total = 0;
#pragma unroll 1
    for (int first = 0; first < used; first += kAtOnce) {
      float sums[kAtOnce] = {};
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const int pair = plan.order[t * args.routes.topk + min(first + k, used - 1)];
#pragma unroll
        for (int i = 0; i < kFp8Parts; ++i) {
          if (i < jobs.parts) sums[k] += routed[(i * pairs + pair) * kDownRows + row];
        }
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (first + k < used) total += RoundBf16(sums[k] * scale);
      }
    }
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kFp8Parts; ++i) {
      if (i < jobs.shared_parts) sum += shared[(i * args.tokens() + t) * kDownRows + row];
    }
    args.y[int64_t{t} * args.dim + int64_t{blockIdx.x} * kDownRows + row] =
        ToBf16(total + RoundBf16(sum * shared_scale));
  }
}

// The parts' sums in shared memory, [part][pair or token][row].
struct DownSums {
  float* routed;
  float* shared;
};
template <int kWarps>
__device__ __forceinline__ DownSums SumsOf(const Arguments& args, const Jobs& jobs,
                                           uint8_t* shared) {
  float* routed = reinterpret_cast<float*>(shared + kWarps * StagedInput::Bytes(args.tokens()));
  return {routed, routed + jobs.parts * args.pairs() * kDownRows};
}

// A block makes 32 rows of y.
template <int kWarps>
__global__ void __launch_bounds__(32 * kWarps) DownKernel(const __grid_constant__ Arguments args) {
  extern __shared__ __align__(16) uint8_t shared[];
  __shared__ Plan plan;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  // Before the wait: the routes were written before the kernel in front let this one begin; by its
  // first block, and fenced, where it has chosen.
  MakePlan<false, true>(args.routes, plan);
  const int shared_parts = args.w2[1].fp4 ? kFp4Parts : kFp8Parts;
  const int parts = args.w2[0].fp4 ? kFp4Parts : kFp8Parts;
  const Jobs jobs{
      .shared_parts = shared_parts, .parts = parts, .count = shared_parts + parts * plan.count};
  Job job;
  TilePair stream;
  {
    const Part part = JobAt(args, plan, jobs, warp, job);
    stream.Start(part);
    TilePair::PrefetchRest(part);
  }
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  for (int number = warp; number < jobs.count; number += kWarps) {
    const bool is_shared = job.is_shared;
    const Columns columns = is_shared ? TokenColumns(args.tokens())
                                      : ColumnsOf(plan, jobs.entry(number), args.tokens());
    const StagedInput input({.x = (is_shared ? args.shared_h : args.h) + job.first * kGroupColumns,
                             .stride = is_shared ? args.shared_inner : args.inner,
                             .columns = (job.last - job.first) * kGroupColumns},
                            columns, shared + warp * StagedInput::Bytes(args.tokens()));
    float sum[2][4] = {};
    stream.Run(
        job.slots, job.fp4, [&] { return JobAt(args, plan, jobs, number + kWarps, job); }, input,
        sum);
    const DownSums sums = SumsOf<kWarps>(args, jobs, shared);  // again, rather than kept
    float* to = is_shared ? sums.shared + jobs.part(number) * args.tokens() * kDownRows
                          : sums.routed + jobs.part(number) * args.pairs() * kDownRows;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int column = 2 * (lane % 4) + j;
      const int pair = columns.of(column);
      if (column >= columns.count) continue;
      float* at = to + pair * kDownRows + lane / 4;
      at[0] = sum[0][j];
      at[8] = sum[0][2 + j];
      at[16] = sum[1][j];
      at[24] = sum[1][2 + j];
    }
  }
  __syncthreads();
  const DownSums sums = SumsOf<kWarps>(args, jobs, shared);
  DownEnd(args, plan, jobs, sums.routed, sums.shared);
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
  const int64_t items = (args.shared_inner + pairs * args.inner) / kTileRows;
  Launch({.name = "moe_experts gate_up",
          .grid = dim3(
              static_cast<unsigned>(std::min<int64_t>(items, kGateBlocks * Multiprocessors()))),
          .threads = kGateThreads},
         stream, GateUpKernel, args);
  Arguments down = args;
  if (args.chosen != nullptr) {
    down.routes.scores = nullptr;
    down.routes.experts = args.chosen;
    down.routes.weight = args.chosen_weight;
  }
  const int64_t staged = StagedInput::Bytes(static_cast<int>(tokens));
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
         stream, wide ? DownKernel<16> : DownKernel<8>, down);
}

}  // namespace

void MoeExpertsSmall(const MoeExpertsArgs& args, const Routes& routes, const HalfRows& x,
                     Stream& stream) {
  const int64_t tokens = args.x.shape[0], dim = args.x.shape[1];
  KERNEL_CHECK_LE(tokens, SmallTokens(routes.topk));
  KERNEL_CHECK_LE(routes.topk, kMaxTopk);
  KERNEL_CHECK_MULTIPLE(dim, kGroupColumns);
  if (tokens == 0) return;
  const int64_t count = args.routed.shape[0], shared_inner = args.shared.w2.k;
  const int64_t inner = count > 0 ? args.routed[0].w2.k : 0, pairs = tokens * routes.topk;
  const bool chooses = routes.scores != nullptr;
  Scratch scratch(stream);
  const Arguments arguments{.x = x,
                            .routes = routes,
                            .chosen = chooses ? scratch.Take<int32_t>(pairs) : nullptr,
                            .chosen_weight = chooses ? scratch.Take<float>(pairs) : nullptr,
                            .w1 = {RoutedSet(args, &ExpertWeights::w1), SetOf(args.shared.w1, 0)},
                            .w3 = {RoutedSet(args, &ExpertWeights::w3), SetOf(args.shared.w3, 0)},
                            .w2 = {RoutedSet(args, &ExpertWeights::w2), SetOf(args.shared.w2, 0)},
                            .dim = static_cast<int32_t>(dim),
                            .inner = static_cast<int32_t>(inner),
                            .shared_inner = static_cast<int32_t>(shared_inner),
                            .limit = args.limit,
                            .h = scratch.Take<Bf16>(pairs * inner),
                            .shared_h = scratch.Take<Bf16>(tokens * shared_inner),
                            .y = args.y.data};
  LaunchKernels(arguments, stream);
}

}  // namespace tandem::kernels::cuda
