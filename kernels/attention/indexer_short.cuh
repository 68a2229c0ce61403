// SPDX-License-Identifier: Apache-2.0
// The indexer of few tokens with few rows in one launch: a cluster of eight blocks a token. Each
// prepares the query for itself and scores every eighth unit, a warp a unit, into the first block's
// shared memory; that one selects.
//
// Selection: a histogram over the range of the scores' ordered integers in 2,048 bins, the bin of
// the K-th best, and again within it until the bin is wanted whole or is one value. Ties are taken
// in ascending order of rows. No order of atomics shows. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/cluster.cuh"
#include "kernels/attention/indexer_unit.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/ptx/async_copy.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kShortBlocks = 8;
inline constexpr int kShortThreads = 256;
inline constexpr int kShortWarps = kShortThreads / 32;
inline constexpr int kShortRows = 2048;  // at most: a unit a warp
inline constexpr int kShortBins = 2048;
inline constexpr int kShortBinBits = 11;
inline constexpr int kShortOwnBins = kShortBins / kShortThreads;
inline constexpr int kShortOwnRows = kShortRows / kShortThreads;
static_assert(kShortRows == kShortBlocks * kShortWarps * kUnit && kShortOwnBins == 8);

// What the first block selects from.
struct ShortScores {
  uint32_t keys[kShortRows];
  uint32_t least, most;
};

// A query in the block's own shared memory.
template <class Product, int kTiles>
struct ShortQuery {
  uint4 fragments[kTiles * Product::kSteps * 32];
  float weight[16 * kTiles];
  uint32_t head[16 * kTiles];
  float group_scale[Product::kScalesGroups ? 64 * kTiles : 1];
  int32_t irregular;

  __device__ __forceinline__ IndexerWork Work() {
    IndexerWork work;
    work.heads = 16 * kTiles;
    work.fragments = fragments;
    work.weight = weight;
    work.head = head;
    work.group_scale = group_scale;
    work.irregular = &irregular;
    return work;
  }
};

// The score of this warp's unit, a lane a row, from the query once it is there.
template <class Product, int kTiles>
__device__ __forceinline__ float ScoreOwnUnit(ShortQuery<Product, kTiles>& shared,
                                              const uint8_t* unit, const uint4 (&codes)[kUnitTiles],
                                              uint32_t scales, int lane) {
  const IndexerWork work = shared.Work();
  const RowScales split = SplitScales(scales);
  if (shared.irregular != 0 || !__all_sync(0xFFFFFFFFu, split.regular)) {
    return ScoreAnyUnit<Product>(work, 0, unit, scales, lane);
  }
  IndexerQuery<Product, kTiles> query;
  LoadQuery<Product, kTiles>(work, 0, lane, &query);
  const auto keys = [&](int tile) { return codes[tile]; };
  return ScoreUnit<Product, kTiles>(query, keys, split, lane);
}

// Prepares the query and scores this block's units.
template <class Product, int kTiles>
__device__ __forceinline__ void ScoreShort(const IndexerTopkArgs& args, int64_t t, int32_t rows,
                                           const int32_t* pages, const QueryPart& part,
                                           ShortScores& scores) {
  __shared__ ShortQuery<Product, kTiles> query;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const auto index = static_cast<int32_t>(kShortBlocks * warp + ClusterRank());
  const int32_t first = index * kUnit;
  const uint8_t* unit = nullptr;
  uint4 codes[kUnitTiles];
  uint32_t scales = 0;
  if (first < rows) {
    const uint8_t* page = args.keys.base + int64_t{kIndexPageBytes} * pages[index / 2];
    unit = page + kUnitCodeBytes * (index % 2);
#pragma unroll
    for (int i = 0; i < kUnitTiles; ++i) codes[i] = Product::LoadKeys(unit, i, lane);
    scales = *reinterpret_cast<const uint32_t*>(page + 2 * kUnitCodeBytes +
                                                kIndexRowScales * (kUnit * (index % 2) + lane));
    // What stands behind the last row must not make the unit irregular.
    if (first + lane >= rows) scales = 0x7F7F7F7Fu;
  }
  PrepareQuery<Product>(args, query.Work(), 0, t, part);
  __syncthreads();
  ClusterWait();  // the first block is there
  if (first >= rows) return;
  const uint32_t key = OrderedKey(ScoreOwnUnit<Product, kTiles>(query, unit, codes, scales, lane));
  const bool real = first + lane < rows;
  const auto in_first = [](const void* p) { return ClusterAddress(ptx::SharedAddress(p), 0); };
  if (real) ClusterStore(in_first(&scores.keys[first + lane]), key);
  const uint32_t least = __reduce_min_sync(0xFFFFFFFFu, real ? key : 0xFFFFFFFFu);
  const uint32_t most = __reduce_max_sync(0xFFFFFFFFu, real ? key : 0);
  if (lane == 0) ClusterMin(in_first(&scores.least), least);
  if (lane == 1) ClusterMax(in_first(&scores.most), most);
}

// The bin that holds the wanted-th largest, rows in higher bins, rows in it.
struct ShortThreshold {
  uint32_t bin, above, count;
};

// Also clears the bins.
__device__ __forceinline__ ShortThreshold FindShortThreshold(uint32_t* bins, uint32_t wanted) {
  __shared__ ShortThreshold found;
  __shared__ uint32_t warp_sums[kShortWarps];
  const int tid = static_cast<int>(threadIdx.x), lane = tid % 32, warp = tid / 32;
  const int first = kShortBins - (tid + 1) * kShortOwnBins;
  auto* own = reinterpret_cast<uint4*>(bins + first);
  const uint4 low = own[0], high = own[1];
  own[0] = own[1] = uint4{};
  const uint32_t counts[kShortOwnBins] = {high.w, high.z, high.y, high.x,
                                          low.w,  low.z,  low.y,  low.x};
  uint32_t sum = 0;
#pragma unroll
  for (const uint32_t count : counts) sum += count;
  const uint32_t scan = WarpScan(sum);
  if (lane == 31) warp_sums[warp] = scan;
  __syncthreads();
  uint32_t above = scan - sum;
#pragma unroll
  for (int w = 0; w < kShortWarps; ++w) above += w < warp ? warp_sums[w] : 0;
  if (above < wanted && above + sum >= wanted) {
#pragma unroll
    for (int i = 0; i < kShortOwnBins; ++i) {
      if (above < wanted && above + counts[i] >= wanted) {
        found = {static_cast<uint32_t>(first + kShortOwnBins - 1 - i), above, counts[i]};
      }
      above += counts[i];
    }
  }
  __syncthreads();
  return found;
}

// What a thread selects from: row 32·i + lane of its warp's rows, the first block's keys.
struct ShortKeys {
  uint32_t key[kShortOwnRows];
  int32_t first, rows;  // of lane 0 and i = 0; of the token

  __device__ __forceinline__ ShortKeys(const ShortScores& scores, int32_t rows)
      : first(static_cast<int>(threadIdx.x) / 32 * (32 * kShortOwnRows)), rows(rows) {
#pragma unroll
    for (int i = 0; i < kShortOwnRows; ++i) key[i] = scores.keys[Row(i)];
  }
  __device__ __forceinline__ int32_t Row(int i) const {
    return first + 32 * i + static_cast<int>(threadIdx.x) % 32;
  }
  __device__ __forceinline__ bool Real(int i) const {
    return Row(i) < rows;
  }
};

// Rows above `exact` are chosen, and the first `ties` of those that equal it.
struct ShortChoice {
  uint32_t exact, ties;
};

__device__ __forceinline__ ShortChoice ChooseShort(const ShortKeys& keys, uint32_t least,
                                                   uint32_t most, uint32_t wanted, uint32_t* bins) {
  uint32_t span = most - least;
  int shift = max(0, 32 - __clz(static_cast<int>(span)) - kShortBinBits);
  while (true) {
#pragma unroll
    for (int i = 0; i < kShortOwnRows; ++i) {
      const uint32_t place = keys.key[i] - least;
      if (keys.Real(i) && place <= span) atomicAdd(&bins[place >> shift], 1u);
    }
    __syncthreads();
    const ShortThreshold found = FindShortThreshold(bins, wanted);
    wanted -= found.above;
    least += found.bin << shift;
    if (wanted == found.count && least != 0) return {least - 1, 0};
    if (shift == 0) return {least, wanted};
    span = (1u << shift) - 1;
    shift = max(0, shift - kShortBinBits);
  }
}

// Writes the chosen rows in ascending order.
__device__ __forceinline__ void ListShort(const ShortKeys& keys, const ShortChoice& choice,
                                          const int32_t* pages, int32_t* out) {
  __shared__ uint2 warp_counts[kShortWarps];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  uint32_t above[kShortOwnRows], equal[kShortOwnRows];
  uint2 own = {};
#pragma unroll
  for (int i = 0; i < kShortOwnRows; ++i) {
    above[i] = __ballot_sync(0xFFFFFFFFu, keys.Real(i) && keys.key[i] > choice.exact);
    equal[i] = __ballot_sync(0xFFFFFFFFu, keys.Real(i) && keys.key[i] == choice.exact);
    own.x += __popc(above[i]);
    own.y += __popc(equal[i]);
  }
  if (lane == 0) warp_counts[warp] = own;
  __syncthreads();
  uint2 before = {};
#pragma unroll
  for (int w = 0; w < kShortWarps; ++w) {
    if (w < warp) before = {before.x + warp_counts[w].x, before.y + warp_counts[w].y};
  }
  const uint32_t below = (1u << lane) - 1;
#pragma unroll
  for (int i = 0; i < kShortOwnRows; ++i) {
    const uint32_t ties = before.y + __popc(equal[i] & below);
    const bool chosen =
        ((above[i] >> lane) & 1u) != 0 || (((equal[i] >> lane) & 1u) != 0 && ties < choice.ties);
    const uint32_t place = before.x + __popc(above[i] & below) + min(ties, choice.ties);
    if (chosen) out[place] = CompressedRow(pages, keys.Row(i), 4);
    before = {before.x + __popc(above[i]), before.y + __popc(equal[i])};
  }
}

// Grid: kShortBlocks a token.
template <class Product, int kTiles>
__global__ void __cluster_dims__(kShortBlocks, 1, 1) __launch_bounds__(kShortThreads, 2)
    IndexerShortKernel(IndexerTopkArgs args) {
  __shared__ ShortScores scores;
  __shared__ __align__(16) uint32_t bins[kShortBins];
  __shared__ int32_t table[kShortRows / kBlockRows];
  const int64_t t = blockIdx.x / kShortBlocks;
  const int tid = static_cast<int>(threadIdx.x);
  if (tid == 0) scores.least = 0xFFFFFFFFu;
  if (tid == 1) scores.most = 0;
  for (int i = tid; i < kShortBins; i += kShortThreads) bins[i] = 0;
  ptx::GridDependencyLaunch();
  __syncthreads();
  ClusterArrive();
  ptx::GridDependencyWait();
  const QueryPart part = LoadQueryPart(args, t);
  const int32_t rows = VisibleRows(args.batch, t);
  const int32_t* pages = args.batch.pages.row(args.batch.sequence[t]);
  const auto topk = static_cast<int32_t>(args.rows.shape[1]);
  const bool all = rows <= topk;
  if (tid < (rows + kBlockRows - 1) / kBlockRows) table[tid] = pages[tid];
  if (all) {
    ClusterWait();
  } else {
    ScoreShort<Product, kTiles>(args, t, rows, pages, part, scores);
  }
  ClusterArrive();
  if (ClusterRank() != 0) return;
  ClusterWait();
  __syncthreads();  // says the same to compute-sanitizer, which does not know the cluster's barrier
  int32_t* out = args.rows.row(t);
  if (all) {
    for (int32_t i = tid; i < topk; i += kShortThreads) {
      out[i] = i < rows ? CompressedRow(table, i, 4) : -1;
    }
    return;
  }
  const ShortKeys keys(scores, rows);
  ListShort(keys, ChooseShort(keys, scores.least, scores.most, static_cast<uint32_t>(topk), bins),
            table, out);
}

}  // namespace tandem::kernels::cuda
