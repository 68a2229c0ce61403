// SPDX-License-Identifier: Apache-2.0
// sample on a device, three kernels: the best token of every row; for rows with top_k or top_p, the
// last place that is kept; the draw. Which rows need what is read on the device.
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/common/cuda/launch.h"
#include "kernels/sampling/row.cuh"
#include "kernels/sampling/sample.h"
#include "kernels/sampling/search.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kDrawThreads = 256;
constexpr int kDrawWarps = kDrawThreads / 32;
constexpr int kOwnLogits = 4;
constexpr int64_t kDrawChunk = kOwnLogits * 32;  // logits that a warp sums
// From so many rows on, a warp takes several chunks: the row's best, the fence and the arrival cost
// a block as much as a chunk.
constexpr int64_t kManyRows = 8;
constexpr unsigned kBlocksOfManyRows = 16;

struct SampleWork {
  uint64_t* best;  // [T, best_chunks]
  int64_t best_chunks;
  uint32_t* cleared;  // [T, kClearedWords]: the row's bins, two counts of arrivals
  uint64_t* cutoff;   // [T] the last place that is kept
  double* sums;       // [T, draw chunks] of the kept
};
constexpr int64_t kClearedWords = kRowBinWords + 2;
static_assert(kClearedWords % 2 == 0);  // masses are 64-bit

__device__ __forceinline__ int32_t* ArrivalsOf(const SampleWork& work, int64_t t) {
  return reinterpret_cast<int32_t*>(work.cleared + t * kClearedWords + kRowBinWords);
}

// A row with its temperature, and min_p.
struct SampleRow {
  const float* logits;
  int64_t size;
  float most;
  double inverse_temperature;
  double min_p;
  uint64_t cutoff;  // places below it are dropped

  __device__ __forceinline__ float Logit(int64_t id) const { return logits[id]; }
  // e^{(l − most)/temperature}, 0 where min_p drops it.
  __device__ __forceinline__ double Ratio(float l) const {
    double ratio = 1;
    if (l != most) {
      ratio = exp((static_cast<double>(l) - most) * inverse_temperature);
      if (!(ratio == ratio)) ratio = 0;
    }
    return ratio >= min_p ? ratio : 0;
  }
  // Whether the token is kept so far, and its mass.
  __device__ __forceinline__ bool Mass(float l, uint64_t place, unsigned long long* mass) const {
    if (place < cutoff) return false;
    const double p = Ratio(l);
    *mass = static_cast<unsigned long long>(__double2ll_rn(p * kMassUnit));
    return p > 0;
  }
};

__device__ __forceinline__ SampleRow RowOf(const SampleArgs& args, int64_t t, uint64_t best) {
  return {.logits = args.logits.row(t),
          .size = args.logits.shape[1],
          .most = LogitAt(best),
          .inverse_temperature = 1.0 / args.temperature[t],
          .min_p = args.min_p[t],
          .cutoff = 0};
}

__device__ __forceinline__ bool HasTopK(const SampleArgs& args, int64_t t) {
  return args.top_k[t] > 0 && args.top_k[t] < args.logits.shape[1];
}
__device__ __forceinline__ bool IsTruncated(const SampleArgs& args, int64_t t) {
  return args.temperature[t] > 0 && (HasTopK(args, t) || args.top_p[t] < 1);
}

// This block's chunk of the row into the row's bins.
__device__ __forceinline__ void CountChunk(const SampleRow& row, const RowBins& total,
                                           SearchShared* shared) {
  for (int i = static_cast<int>(threadIdx.x); i < kSearchBins; i += kSearchThreads) {
    shared->bins.count[i] = 0;
    shared->bins.mass[i] = 0;
  }
  __syncthreads();
  const int64_t begin = blockIdx.x * kSearchChunk, end = min(begin + kSearchChunk, row.size);
  ForTokens(row, begin, end, [&](float l, int64_t id) {
    unsigned long long mass = 0;
    if (!row.Mass(l, PlaceOf(l, id), &mass)) return;
    atomicAdd(&shared->bins.count[BinOf(l, row.most)], 1u);
    atomicAdd(&shared->bins.mass[BinOf(l, row.most)], mass);
  });
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kSearchBins; i += kSearchThreads) {
    if (shared->bins.count[i] == 0) continue;
    atomicAdd(total.count + i, shared->bins.count[i]);
    atomicAdd(total.mass + i, shared->bins.mass[i]);
  }
}

// Grid (chunks, T).
__global__ void __launch_bounds__(kSearchThreads, 1)
    CutoffKernel(SampleArgs args, SampleWork work) {
  __shared__ SearchShared shared;
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t t = blockIdx.y;
  if (!IsTruncated(args, t)) return;
  const uint64_t best = RowBest(work.best + t * work.best_chunks, work.best_chunks);
  SampleRow row = RowOf(args, t, best);
  const RowBins bins = BinsOfRow(work.cleared + t * kClearedWords);
  CountChunk(row, bins, &shared);
  if (!ArriveLast(ArrivalsOf(work, t), static_cast<int32_t>(gridDim.x))) return;
  unsigned long long own = 0, sum = 0;
  for (int k = 0; k < kOwnBins; ++k) own += __ldcg(bins.mass + kOwnBins * threadIdx.x + k);
  BlockPrefix(own, &sum);
  if (HasTopK(args, t)) {
    const SearchResult found = Search<true>(row, bins, args.top_k[t], &shared);
    if (found.place != 0) {
      row.cutoff = found.place;
      sum = found.mass;
    }
  }
  if (args.top_p[t] < 1) {
    const double goal = static_cast<double>(args.top_p[t]) * static_cast<double>(sum);
    const SearchResult found =
        goal > 0 ? Search<false>(row, bins, goal, &shared) : SearchResult{best, 0};
    if (found.place != 0) row.cutoff = found.place;
  }
  if (threadIdx.x == 0) work.cutoff[t] = row.cutoff;
}

// Probabilities of a lane's logits of a chunk, ascending.
__device__ __forceinline__ double OwnRatios(const SampleRow& row, int64_t chunk, int lane,
                                            double (&p)[kOwnLogits]) {
  const int64_t first = chunk * kDrawChunk + lane * kOwnLogits;
  float l[kOwnLogits];
  if (row.size % kOwnLogits == 0 && reinterpret_cast<uintptr_t>(row.logits) % 16 == 0) {
    const float4 v = first < row.size ? *reinterpret_cast<const float4*>(row.logits + first)
                                      : make_float4(0, 0, 0, 0);
    l[0] = v.x, l[1] = v.y, l[2] = v.z, l[3] = v.w;
  } else {
#pragma unroll
    for (int i = 0; i < kOwnLogits; ++i) {
      l[i] = first + i < row.size ? row.logits[first + i] : 0.0f;
    }
  }
  double sum = 0;
#pragma unroll
  for (int i = 0; i < kOwnLogits; ++i) {
    const int64_t id = first + i;
    p[i] = id < row.size && PlaceOf(l[i], id) >= row.cutoff ? row.Ratio(l[i]) : 0;
    sum += p[i];
  }
  return sum;
}

struct Min {
  __device__ int64_t operator()(int64_t a, int64_t b) const { return a < b ? a : b; }
};

// The chunk in which the running sum passes the goal, and the sum before it; −1 where nothing has
// any. If rounding keeps the sum below the goal, the last chunk that has some.
__device__ __forceinline__ int64_t ChooseChunk(const double* sums, int64_t chunks, double u,
                                               double* goal, double* before) {
  const int64_t per = (chunks + kDrawThreads - 1) / kDrawThreads;
  const int64_t begin = threadIdx.x * per, end = min(begin + per, chunks);
  double own = 0, total = 0;
  for (int64_t c = begin; c < end; ++c) own += __ldcg(sums + c);
  double running = BlockPrefix(own, &total);
  *goal = u * total;
  int64_t passed = chunks, some = -1;
  for (int64_t c = begin; c < end; ++c) {
    const double sum = __ldcg(sums + c);
    if (sum > 0) some = c;
    if (passed == chunks && sum > 0 && running + sum > *goal) passed = c;
    running += sum;
  }
  int64_t chosen = BlockReduce(passed, Min());
  if (chosen == chunks) chosen = BlockReduce(some, Max());
  // The sum before it, from its owner.
  __shared__ double sum_before;
  if (chosen >= begin && chosen < end) {
    running = 0;
    for (int64_t c = begin; c < chosen; ++c) running += __ldcg(sums + c);
    sum_before = running;
  }
  __syncthreads();
  const double prefix = BlockPrefix(own, &total);
  if (chosen >= begin && chosen < end) sum_before += prefix;
  __syncthreads();
  *before = sum_before;
  return chosen;
}

// Grid (blocks a row, T).
__global__ void __launch_bounds__(kDrawThreads, 2) DrawKernel(SampleArgs args, SampleWork work) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t t = blockIdx.y, chunks = (args.logits.shape[1] + kDrawChunk - 1) / kDrawChunk;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  if (args.temperature[t] <= 0 && blockIdx.x > 0) return;
  const uint64_t best = RowBest(work.best + t * work.best_chunks, work.best_chunks);
  if (args.temperature[t] <= 0) {
    if (threadIdx.x == 0) args.token[t] = IdAt(best);
    return;
  }
  SampleRow row = RowOf(args, t, best);
  if (IsTruncated(args, t)) row.cutoff = work.cutoff[t];
  double p[kOwnLogits];
  double* sums = work.sums + t * chunks;
#pragma unroll 1
  for (int64_t chunk = int64_t{blockIdx.x} * kDrawWarps + warp; chunk < chunks;
       chunk += int64_t{gridDim.x} * kDrawWarps) {
    const double sum = WarpReduce(OwnRatios(row, chunk, lane, p), Sum());
    if (lane == 0) sums[chunk] = sum;
  }
  if (!ArriveLast(ArrivalsOf(work, t) + 1, static_cast<int32_t>(gridDim.x))) return;
  double goal = 0, before = 0, total = 0;
  const int64_t chunk = ChooseChunk(sums, chunks, args.u[t], &goal, &before);
  if (chunk < 0) {  // nothing but NaN
    if (threadIdx.x == 0) args.token[t] = IdAt(best);
    return;
  }
  double own = OwnRatios(row, chunk, lane, p);
  if (warp > 0) {  // one warp's work
    own = p[0] = p[1] = p[2] = p[3] = 0;
  }
  double running = before + BlockPrefix(own, &total);
  const int64_t first = chunk * kDrawChunk + lane * kOwnLogits;
  int64_t passed = INT64_MAX, some = -1;
#pragma unroll
  for (int i = 0; i < kOwnLogits; ++i) {
    if (p[i] <= 0) continue;
    running += p[i];
    some = first + i;
    if (passed == INT64_MAX && running > goal) passed = first + i;
  }
  int64_t token = BlockReduce(passed, Min());
  if (token == INT64_MAX) token = BlockReduce(some, Max());
  if (threadIdx.x == 0) args.token[t] = static_cast<int32_t>(token);
}

}  // namespace

void Sample(const SampleArgs& args, Stream& stream) {
  CheckSample(args);
  const int64_t tokens = args.logits.shape[0], vocabulary = args.logits.shape[1];
  const auto rows = static_cast<unsigned>(tokens);
  const unsigned draws = Blocks(vocabulary, kDrawChunk * kDrawWarps);
  Scratch scratch(stream);
  SampleWork work{};
  work.best_chunks = Blocks(vocabulary, kBestChunk);
  work.best = scratch.Take<uint64_t>(tokens * work.best_chunks);
  work.cleared = scratch.Take<uint32_t>(tokens * kClearedWords);
  work.cutoff = scratch.Take<uint64_t>(tokens);
  work.sums = scratch.Take<double>(tokens * Blocks(vocabulary, kDrawChunk));
  Launch({.name = "sample: best",
          .grid = dim3(static_cast<unsigned>(work.best_chunks), rows),
          .threads = kBestThreads},
         stream, RowBestKernel, args.logits, work.best, work.cleared, kClearedWords);
  Launch({.name = "sample: cutoff",
          .grid = dim3(Blocks(vocabulary, kSearchChunk), rows),
          .threads = kSearchThreads},
         stream, CutoffKernel, args, work);
  Launch({.name = "sample: draw",
          .grid = dim3(tokens < kManyRows ? draws : std::min(draws, kBlocksOfManyRows), rows),
          .threads = kDrawThreads},
         stream, DrawKernel, args, work);
}

}  // namespace tandem::kernels::cuda
