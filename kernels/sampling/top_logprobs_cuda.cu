// SPDX-License-Identifier: Apache-2.0
// top_logprobs on a device, two kernels: the best token of every row; sums and bins by chunks,
// after which a row's last block does the rest.
#include <cuda_runtime.h>

#include "kernels/common/cuda/launch.h"
#include "kernels/sampling/row.cuh"
#include "kernels/sampling/search.cuh"
#include "kernels/sampling/top_logprobs.h"

namespace tandem::kernels::cuda {
namespace {

struct LogprobWork {
  uint64_t* best;  // [T, best_chunks]
  int64_t best_chunks;
  uint32_t* cleared;  // [T, kClearedWords]: the row's bins, arrivals
  double* sums;       // [T, chunks] of exponentials
};
constexpr int64_t kClearedWords = kRowBinWords + 2;

__device__ __forceinline__ float NoneIfNan(double value) {
  return value == value ? static_cast<float>(value) : __uint_as_float(0xFF800000u);
}
__device__ __forceinline__ float LogitOrNone(float l) {
  return l == l ? l : __uint_as_float(0xFF800000u);
}

// A row whose NaN are −∞; every token counts. Weights are counts only.
struct LogprobRow {
  const float* logits;
  int64_t size;
  float most;
  __device__ __forceinline__ float Logit(int64_t id) const { return LogitOrNone(logits[id]); }
  __device__ __forceinline__ bool Mass(float, uint64_t, unsigned long long*) const { return true; }
};

// This block's chunk: bins, and the sum of exponentials.
__device__ __forceinline__ double SumChunk(const LogprobRow& row, bool count, const RowBins& total,
                                           SearchShared* shared) {
  for (int i = static_cast<int>(threadIdx.x); count && i < kSearchBins; i += kSearchThreads) {
    shared->bins.count[i] = 0;
  }
  __syncthreads();
  const int64_t begin = blockIdx.x * kSearchChunk, end = min(begin + kSearchChunk, row.size);
  double sum = 0;
  for (int64_t id = begin + threadIdx.x; id < end; id += kSearchThreads) {
    const float l = row.Logit(id);
    sum += l == row.most ? 1.0 : exp(static_cast<double>(l) - row.most);
    if (count) atomicAdd(&shared->bins.count[BinOf(l, row.most)], 1u);
  }
  sum = BlockReduce(sum, Sum());
  for (int i = static_cast<int>(threadIdx.x); count && i < kSearchBins; i += kSearchThreads) {
    if (shared->bins.count[i] != 0) atomicAdd(total.count + i, shared->bins.count[i]);
  }
  return sum;
}

// The places from `last` on, sorted.
__device__ __forceinline__ void ListBest(const LogprobRow& row, uint64_t last,
                                         SearchShared* shared) {
  __syncthreads();
  if (threadIdx.x == 0) shared->listed = 0;
  __syncthreads();
#pragma unroll 4
  for (int64_t id = threadIdx.x; id < row.size; id += kSearchThreads) {
    const uint64_t place = PlaceOf(row.Logit(id), id);
    if (place >= last) shared->list[atomicAdd(&shared->listed, 1)] = place;
  }
  SortList(shared);
}

// Grid (chunks, T).
__global__ void __launch_bounds__(kSearchThreads)
    LogprobKernel(TopLogprobsArgs args, LogprobWork work) {
  __shared__ SearchShared shared;
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t t = blockIdx.y, wanted = args.ids.shape[1];
  const uint64_t best = RowBest(work.best + t * work.best_chunks, work.best_chunks);
  const LogprobRow row{.logits = args.logits.row(t),
                       .size = args.logits.shape[1],
                       .most = LogitOrNone(LogitAt(best))};
  uint32_t* cleared = work.cleared + t * kClearedWords;
  const RowBins bins = BinsOfRow(cleared);
  double* sums = work.sums + t * gridDim.x;
  const double own = SumChunk(row, wanted > 0, bins, &shared);
  if (threadIdx.x == 0) sums[blockIdx.x] = own;
  if (!ArriveLast(reinterpret_cast<int32_t*>(cleared + kRowBinWords),
                  static_cast<int32_t>(gridDim.x))) {
    return;
  }
  double sum = 0;
  for (int64_t i = threadIdx.x; i < gridDim.x; i += kSearchThreads) sum += __ldcg(sums + i);
  const double norm = row.most + log(BlockReduce(sum, Sum()));
  if (threadIdx.x == 0) {
    const int32_t token = args.token[t];
    const double l = token < 0 ? __longlong_as_double(0xFFF0000000000000ll)
                               : static_cast<double>(row.Logit(max(token, 0)));
    args.chosen[t] = token < 0 ? static_cast<float>(l) : NoneIfNan(l - norm);
  }
  if (wanted == 0) return;
  const SearchResult last = Search<true>(row, bins, static_cast<double>(wanted), &shared);
  ListBest(row, last.place, &shared);
  for (int64_t i = threadIdx.x; i < wanted; i += kSearchThreads) {
    const uint64_t place = shared.list[i];
    args.ids.row(t)[i] = IdAt(place);
    args.values.row(t)[i] = NoneIfNan(static_cast<double>(LogitAt(place)) - norm);
  }
}

}  // namespace

void TopLogprobs(const TopLogprobsArgs& args, Stream& stream) {
  CheckTopLogprobs(args);
  KERNEL_CHECK_LE(args.ids.shape[1], kListed);
  const int64_t tokens = args.logits.shape[0], vocabulary = args.logits.shape[1];
  const auto rows = static_cast<unsigned>(tokens);
  const unsigned chunks = Blocks(vocabulary, kSearchChunk);
  Scratch scratch(stream);
  LogprobWork work{};
  work.best_chunks = Blocks(vocabulary, kBestChunk);
  work.best = scratch.Take<uint64_t>(tokens * work.best_chunks);
  work.cleared = scratch.Take<uint32_t>(tokens * kClearedWords);
  work.sums = scratch.Take<double>(tokens * chunks);
  Launch({.name = "top_logprobs: best",
          .grid = dim3(static_cast<unsigned>(work.best_chunks), rows),
          .threads = kBestThreads},
         stream, RowBestKernel, args.logits, work.best, work.cleared, kClearedWords);
  Launch({.name = "top_logprobs", .grid = dim3(chunks, rows), .threads = kSearchThreads}, stream,
         LogprobKernel, args, work);
}

}  // namespace tandem::kernels::cuda
