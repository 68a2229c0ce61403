// SPDX-License-Identifier: Apache-2.0
// What the indexer's score kernel wants of a query: its codes in the order of the matrix product's
// fragments, its weights and scales, and whether it is regular.
//
// A row (a head of a query, or a key) whose four scales lie within 2^3 of the least one is
// *regular*: with codes taken times 2^distance from that, the dot product of two rows is an exact
// integer below 2^21 times one power of two. The products that there are, stateless types:
//
//   IndexerBytes  (indexer_bytes.cuh) codes as shifted bytes; every machine has the product
//   IndexerMx     (indexer_mx.cuh) codes and scales as they are, in the block-scaled product of
//                 sm_120f; elsewhere that is emulated, slowly, for tests
//
//   kSteps, kScalesGroups     products of a tile of 16 heads; whether group_scale is wanted
//   kShrink                   of a product, so that a saturating FMA is a ReLU
//   Query<kTiles>             a query's operands in a warp's registers
//   SumOfHead, PutHead        what PrepareQuery wants of a head, by its two threads; writes of it
//   FragmentOf                of a step, rows `row` and row + 8; zeros where there is no such head
//   LoadHead, LoadOthers      what Query has beside fragments and weights
//   StagePlace, LoadStage     where a lane's 16 bytes of a tile of eight keys go in shared memory;
//   LoadKeys                  the operand of a tile from there, and from device memory
//   RegularScales, UnitScales scales of a regular unit's rows; those of the unit, for a lane
//   ScoreRegular, ScoreIrregular   sums over this lane's heads for columns 2c, 2c + 1 of a tile
//
// Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/indexer_topk.h"
#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kMostShift = 3;    // of a regular row
inline constexpr int kMostScale = 251;  // of a regular row's least scale; 255 is NaN
inline constexpr int kBinShift = 20;    // a key's first level of selection is its top 12 bits
inline constexpr int kBins = 1 << (32 - kBinShift);
inline constexpr int kListed = 4096;       // candidates that are listed; more are looked up again
inline constexpr int kUnit = 32;           // key rows that a warp scores together
inline constexpr int kQueryThreads = 128;  // two a head
inline constexpr float kGrow = 0x1p19f;    // of a weight: makes up for Product::kShrink

// One slice of tokens on its way through the three kernels. Pointers are scratch.
struct IndexerWork {
  int64_t first = 0;              // token
  int64_t tokens = 0;             // in the slice
  int64_t capacity = 0;           // rows that the page table can name, a multiple of 64
  int64_t heads = 0;              // filled up to whole tiles of 16
  uint4* fragments = nullptr;     // [tokens, heads/16, steps, 32 lanes]
  float* weight = nullptr;        // [tokens, heads]
  uint32_t* head = nullptr;       // [tokens, heads] what else the product wants of a head
  float* group_scale = nullptr;   // [tokens, heads, 4]; of IndexerBytes
  int32_t* irregular = nullptr;   // [tokens]
  uint32_t* keys = nullptr;       // [tokens, capacity] scores, as integers in the same order
  uint32_t* histogram = nullptr;  // [tokens, kBins]; null: the selection makes its own
  uint32_t* sure = nullptr;       // [tokens, capacity/32] a bit a row: chosen
  uint32_t* tie = nullptr;        // [tokens, capacity/32] a bit a row: chosen if there is room
  uint2* candidates = nullptr;    // [tokens, kListed] (key, row) of the threshold's bin
  int32_t* counters = nullptr;    // [tokens, 2] candidates, blocks that have arrived
};

// Rows that token t of the batch sees.
__device__ __forceinline__ int32_t VisibleRows(const Batch& batch, int64_t t) {
  return (batch.positions[t] + 1) / 4;
}

// The four scales of a row in a word: the least, and the distances from it.
struct RowScales {
  uint32_t least;
  uint32_t distance;  // a byte a group; meaningless if irregular
  bool regular;
};
__device__ __forceinline__ RowScales SplitScales(uint32_t word) {
  const uint32_t a = min(word & 255u, (word >> 8) & 255u);
  const uint32_t b = min((word >> 16) & 255u, word >> 24);
  const uint32_t least = min(a, b), distance = word - least * 0x01010101u;
  static_assert(kMostShift == 3);
  return {least, distance, (distance & 0xFCFCFCFCu) == 0 && least <= kMostScale};
}

__device__ __forceinline__ float ScaleFloat(uint32_t byte) {
  return ToFloat(Ue8m0{static_cast<uint8_t>(byte)});
}

// What a thread has of a query: half of head threadIdx.x / 2, if there is that head.
struct QueryPart {
  uint4 words[2] = {};
  uint32_t scales = 0x7F7F7F7Fu;
  float proj = 0;
};

__device__ __forceinline__ QueryPart LoadQueryPart(const IndexerTopkArgs& args, int64_t t) {
  QueryPart part;
  const int tid = static_cast<int>(threadIdx.x), h = tid / 2;
  if (h >= args.q.shape[1]) return part;
  const auto* words = reinterpret_cast<const uint4*>(args.q.row(t)) + 2 * tid;
  part.words[0] = words[0];
  part.words[1] = words[1];
  part.scales = reinterpret_cast<const uint32_t*>(args.q_scale.row(t))[h];
  part.proj = args.proj.row(t)[h];
  return part;
}

// Fills work.fragments, weight, head, group_scale and irregular of place `local` with the query of
// token t; the whole block, of at least kQueryThreads.
template <class Product>
__device__ __forceinline__ void PrepareQuery(const IndexerTopkArgs& args, const IndexerWork& work,
                                             int64_t local, int64_t t, const QueryPart& part) {
  __shared__ uint32_t shifts[kQueryThreads / 2];  // of a head: a byte a group
  __shared__ int32_t any_irregular;
  const int64_t heads = args.q.shape[1];
  const int tid = static_cast<int>(threadIdx.x);
  if (tid == 0) any_irregular = 0;
  __syncthreads();
  const int h = tid / 2;
  if (h < work.heads) {
    const RowScales scales = SplitScales(part.scales);
    const uint32_t shift = scales.regular ? scales.distance : 0;
    const int32_t sum = Product::SumOfHead(part, shift);
    if (tid % 2 == 0) {
      const float w = RoundBf16(RoundBf16(part.proj) * args.weight_scale);
      const int64_t at = local * work.heads + h;
      shifts[h] = shift;
      work.weight[at] = w * kGrow * (scales.regular ? ScaleFloat(scales.least) : 1.0f);
      Product::PutHead(work, at, part.scales, scales, sum);
      if (!scales.regular) any_irregular = 1;
    }
  }
  __syncthreads();
  if (tid == 0) work.irregular[local] = any_irregular;
  const auto* words = reinterpret_cast<const uint32_t*>(args.q.row(t));
  const int entries = static_cast<int>(work.heads / 16) * Product::kSteps * 32;
  for (int i = tid; i < entries; i += static_cast<int>(blockDim.x)) {
    const int lane = i % 32, step = i / 32 % Product::kSteps;
    const int row = i / (32 * Product::kSteps) * 16 + lane / 4;
    work.fragments[local * entries + i] =
        Product::FragmentOf(words, shifts, heads, row, lane, step);
  }
}

// One block a token.
template <class Product>
__global__ void __launch_bounds__(kQueryThreads)
    IndexerQueryKernel(IndexerTopkArgs args, IndexerWork work) {
  const int64_t local = blockIdx.x;
  const int tid = static_cast<int>(threadIdx.x);
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();  // not sooner: the next two kernels count on it
  const int64_t t = work.first + local;
  PrepareQuery<Product>(args, work, local, t, LoadQueryPart(args, t));
  if (work.histogram != nullptr) {
    auto* bins = reinterpret_cast<uint4*>(work.histogram + local * kBins);
    for (int i = tid; i < kBins / 4; i += kQueryThreads) bins[i] = make_uint4(0, 0, 0, 0);
  }
  if (tid < 2) work.counters[2 * local + tid] = 0;
}

}  // namespace tandem::kernels::cuda
