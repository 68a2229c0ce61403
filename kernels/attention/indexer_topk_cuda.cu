// SPDX-License-Identifier: Apache-2.0
// The lightning indexer on a device: queries prepared, rows scored, the best selected; three
// kernels a slice of tokens. All lengths are read on the device.
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/attention/indexer_math.h"
#include "kernels/attention/indexer_query.cuh"
#include "kernels/attention/indexer_score.cuh"
#include "kernels/attention/indexer_select.cuh"
#include "kernels/attention/indexer_short.cuh"
#include "kernels/attention/indexer_topk.h"
#include "kernels/gemm/tile_math.h"

namespace tandem::kernels::cuda {
namespace {

constexpr int64_t kMostHeads = kQueryThreads / 2;
constexpr int64_t kSliceBytes = int64_t{64} << 20;  // of scores: they should stay in L2
constexpr int64_t kSliceTokens = 1024;              // which blocks keep in shared memory
// Up to so many rows, one block a token selects faster than several with a histogram made before.
constexpr int64_t kRowsOfOneBlock = 16384;
constexpr int64_t kSelectBlocksPerSm = 2;
constexpr int64_t kMostShortTokens = 64;  // more fill the machine with fewer queries prepared

// Enough tiles of 16 heads, of the few numbers that are compiled.
int HeadTiles(int64_t heads) {
  KERNEL_CHECK_LE(heads, kMostHeads);
  return heads <= 16 ? 1 : heads <= 32 ? 2 : 4;
}

template <class Product>
IndexerWork TakeWork(int64_t tokens, int64_t capacity, int tiles, bool split, Scratch& scratch) {
  IndexerWork work{.capacity = capacity, .heads = 16 * tiles};
  const int64_t heads = tokens * work.heads, words = tokens * capacity / 32;
  work.fragments = scratch.Take<uint4>(tokens * tiles * Product::kSteps * 32);
  work.weight = scratch.Take<float>(heads);
  work.head = scratch.Take<uint32_t>(heads);
  if (Product::kScalesGroups) work.group_scale = scratch.Take<float>(4 * heads);
  work.irregular = scratch.Take<int32_t>(tokens);
  work.keys = scratch.Take<uint32_t>(tokens * capacity);
  work.sure = scratch.Take<uint32_t>(words);
  work.tie = scratch.Take<uint32_t>(words);
  work.counters = scratch.Take<int32_t>(2 * tokens);
  if (split) {
    work.histogram = scratch.Take<uint32_t>(tokens * kBins);
    work.candidates = scratch.Take<uint2>(tokens * kListed);
  }
  return work;
}

template <class Product, int kTiles>
void Score(const IndexerTopkArgs& args, const IndexerWork& work, Stream& stream) {
  const LaunchConfig config{
      .name = "indexer_topk: score",
      .grid = dim3(static_cast<unsigned>(kScoreBlocksPerSm * Multiprocessors())),
      .threads = kScoreThreads,
      .shared_bytes = ScoreSharedBytes(work.tokens, work.histogram != nullptr)};
  if (work.histogram != nullptr) {
    Launch(config, stream, IndexerScoreKernel<Product, kTiles, true>, args, work);
  } else {
    Launch(config, stream, IndexerScoreKernel<Product, kTiles, false>, args, work);
  }
}

// Of a token: as many as there is room for at once, and work.
unsigned SelectBlocks(const IndexerWork& work) {
  const int64_t room = kSelectBlocksPerSm * Multiprocessors() / work.tokens;
  const int64_t chunks = (work.capacity + kChunkRows - 1) / kChunkRows;
  return static_cast<unsigned>(std::clamp<int64_t>(room, 1, chunks));
}

template <class Product, int kTiles>
void RunShort(const IndexerTopkArgs& args, Stream& stream) {
  Launch({.name = "indexer_topk: short",
          .grid = dim3(static_cast<unsigned>(kShortBlocks * args.batch.tokens())),
          .threads = kShortThreads},
         stream, IndexerShortKernel<Product, kTiles>, args);
}

template <class Product>
void RunSlice(const IndexerTopkArgs& args, const IndexerWork& work, Stream& stream) {
  const auto tokens = static_cast<unsigned>(work.tokens);
  if (work.capacity > args.rows.shape[1]) {
    Launch({.name = "indexer_topk: query", .grid = dim3(tokens), .threads = kQueryThreads}, stream,
           IndexerQueryKernel<Product>, args, work);
    if (work.heads == 16) Score<Product, 1>(args, work, stream);
    if (work.heads == 32) Score<Product, 2>(args, work, stream);
    if (work.heads == 64) Score<Product, 4>(args, work, stream);
  }
  const LaunchConfig select{
      .name = "indexer_topk: select",
      .grid = dim3(work.histogram != nullptr ? SelectBlocks(work) : 1, tokens),
      .threads = kSelectThreads,
      .shared_bytes = work.capacity / 8};
  if (work.histogram != nullptr) {
    Launch(select, stream, IndexerSelectKernel<true>, args, work);
  } else {
    Launch(select, stream, IndexerSelectKernel<false>, args, work);
  }
}

template <class Product>
void Run(const IndexerTopkArgs& args, Stream& stream) {
  const int64_t tokens = args.batch.tokens();
  const int64_t capacity = args.batch.pages.shape[1] * kBlockRows;
  const int tiles = HeadTiles(args.q.shape[1]);
  if (tokens == 0) return;
  if (tokens <= kMostShortTokens && capacity > args.rows.shape[1] && capacity <= kShortRows) {
    if (tiles == 1) return RunShort<Product, 1>(args, stream);
    if (tiles == 2) return RunShort<Product, 2>(args, stream);
    return RunShort<Product, 4>(args, stream);
  }
  const int64_t slice = std::clamp<int64_t>(kSliceBytes / (4 * std::max<int64_t>(capacity, 1)), 1,
                                            std::min(tokens, kSliceTokens));
  Scratch scratch(stream);
  IndexerWork work = TakeWork<Product>(slice, capacity, tiles, capacity > kRowsOfOneBlock, scratch);
  for (; work.first < tokens; work.first += slice) {
    work.tokens = std::min(slice, tokens - work.first);
    RunSlice<Product>(args, work, stream);
  }
}

}  // namespace

void IndexerTopk(const IndexerTopkArgs& args, IndexerMath math, Stream& stream) {
  CheckIndexerTopk(args);
  (math == IndexerMath::kMx ? Run<IndexerMx> : Run<IndexerBytes>)(args, stream);
}

void IndexerTopk(const IndexerTopkArgs& args, Stream& stream) {
  const bool mx = NativeTileMath() == TileMath::kMx;
  IndexerTopk(args, mx ? IndexerMath::kMx : IndexerMath::kBytes, stream);
}

}  // namespace tandem::kernels::cuda
