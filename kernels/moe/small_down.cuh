// SPDX-License-Identifier: Apache-2.0
// The second kernel of moe_experts for few tokens (small_arguments.cuh): w2 and the sum of a
// token's experts. Internal to kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/moe/plan.cuh"
#include "kernels/moe/small_arguments.cuh"
#include "kernels/moe/staged_input.cuh"
#include "kernels/moe/tile_pair.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {

// w2: a warp's jobs are parts of K of an expert, so many by format that they weigh the same.
inline constexpr int kFp4PartBits = 1, kFp8PartBits = 2;  // log 2
inline constexpr int kFp8Parts = 1 << kFp8PartBits;
__host__ __device__ constexpr int PartBits(bool fp4) {
  return fp4 ? kFp4PartBits : kFp8PartBits;
}
inline constexpr int kDownRows = 2 * kTileRows;  // of a block

// The first jobs are the shared expert's parts, the others those of each expert of the plan.
struct Jobs {
  int shared_bits = 0, bits = 0;  // log 2 of the parts
  int count = 0;

  __device__ int shared_parts() const { return 1 << shared_bits; }
  __device__ int parts() const { return 1 << bits; }
  __device__ bool is_shared(int job) const { return job < shared_parts(); }
  __device__ int entry(int job) const { return (job - shared_parts()) >> bits; }  // of the plan
  __device__ int part(int job) const {
    return is_shared(job) ? job : (job - shared_parts()) & (parts() - 1);
  }
};

// Groups first .. last−1 of an expert; beyond the last job none.
struct Job {
  bool is_shared = false;
  bool fp4 = false;
  int first = 0, last = 0;
  int slots = 0;
};

// Job `number`; returns what it reads.
__device__ __forceinline__ Part JobAt(const SmallArguments& args, const Plan& plan,
                                      const Jobs& jobs, int number, Job& job) {
  job = {};
  if (number >= jobs.count) return {};
  job.is_shared = jobs.is_shared(number);
  const int expert = job.is_shared ? 0 : plan.expert(jobs.entry(number));
  const MatrixSet& w2 = args.w2[job.is_shared];
  const int bits = job.is_shared ? jobs.shared_bits : jobs.bits;
  const int share = (w2.groups + (1 << bits) - 1) >> bits;
  job.first = min(share * jobs.part(number), w2.groups);
  job.last = min(job.first + share, w2.groups);
  const int tile = 2 * static_cast<int>(blockIdx.x);
  const Part part = MakePart(w2, w2, expert, tile, tile + 1, job.first, job.last);
  job.slots = part.slots;
  job.fp4 = part.fp4;
  return part;
}

// y of 32 rows: parts, then experts in ascending order, then the shared one; a warp a token.
__device__ __forceinline__ void DownEnd(const SmallArguments& args, const Plan& plan,
                                        const Jobs& jobs, const float* routed,
                                        const float* shared) {
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
          if (i < jobs.parts()) sums[k] += routed[(i * pairs + pair) * kDownRows + row];
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
      if (i < jobs.shared_parts()) sum += shared[(i * args.tokens() + t) * kDownRows + row];
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
__device__ __forceinline__ DownSums SumsOf(const SmallArguments& args, const Jobs& jobs,
                                           uint8_t* shared) {
  float* routed = reinterpret_cast<float*>(shared + kWarps * StagedInput::Bytes(args.tokens()));
  return {routed, routed + jobs.parts() * args.pairs() * kDownRows};
}

// A block makes 32 rows of y.
template <int kWarps>
__global__ void __launch_bounds__(32 * kWarps)
    DownKernel(const __grid_constant__ SmallArguments args) {
  extern __shared__ __align__(16) uint8_t shared[];
  __shared__ Plan plan;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  // Before the wait: the routes were written before the kernel in front let this one begin; by its
  // first block, and fenced, where it has chosen.
  MakePlan<false, true>(args.routes, plan);
  Jobs jobs{.shared_bits = PartBits(args.w2[1].fp4), .bits = PartBits(args.w2[0].fp4)};
  jobs.count = jobs.shared_parts() + (plan.count << jobs.bits);
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
    const uint8_t* none[2] = {};  // loads find FP8 scales by themselves
    float sum[2][4] = {};
    stream.Run(
        job.slots, job.fp4, none, [&] { return JobAt(args, plan, jobs, number + kWarps, job); },
        input, sum);
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

}  // namespace tandem::kernels::cuda
