// SPDX-License-Identifier: Apache-2.0
// The mixing product of hc_pre and hc_head on a device: m[t,n] = Σ_k X'[t,k]·fn[n,k] and Σ_k
// X'[t,k]², where X' are the streams as they are or, folded in, hc_post's.
//
// Numerics, the same bits for every T and every kernel here:
//   A weight is the exact sum of three bf16 terms (hi, mid, lo), a stream value is bf16: three
//   m16n8k16 products with fp32 sums keep fp32's accuracy. A chunk is 32 dims of all four streams;
//   of each stream, each term is summed over its 32 products from zero, then (lo + mid) + hi; the
//   four streams in order; eight chunks in order make a group; the groups in order.
//   Squares: fp32, eight dims of a stream in order, then four such, then as the products.
// Fragments (kernels/ptx/mma.cuh): rows of A are tokens, columns of B are rows of fn. Lane 4·g + c
// has dims 8c .. 8c+7 of rows g and g + 8: one 16-byte load of a stream is both steps' operand.
// M = 4. Internal to kernels/hc.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/load.cuh"
#include "kernels/ptx/mma.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kHcStreams = 4;
inline constexpr int kHcMixes = (2 + kHcStreams) * kHcStreams;  // 24; hc_head has the first 4
inline constexpr int kHcChunk = 32;                             // dims of each stream
inline constexpr int kHcGroup = 8;                              // chunks
inline constexpr int kHcPartial = 32;  // floats: mixes, at kHcSquare the squares, the rest unused
inline constexpr int kHcSquare = kHcMixes;
inline constexpr int kHcRows = 16;  // tokens of a tile

struct HcMixArgs {
  const Bf16* y = nullptr;      // [T, D], with post and comb; or null: no hc_post
  const float* post = nullptr;  // [T, 4]
  const float* comb = nullptr;  // [T, 4, 4]
  Bf16* streams = nullptr;      // [T, 4, D]; written if y
  const float* fn = nullptr;    // [mixes, 4·D]
  int mixes = 0;                // 24 or 4
  int tokens = 0;
  int dim = 0;               // a multiple of 32
  float* partial = nullptr;  // [T, entries, kHcPartial], a chunk or a group an entry
  int entries = 0;
};

// 16 bytes that another kernel has just written.
__device__ __forceinline__ uint4 LoadL2(const Bf16* address) {
  return __ldcg(reinterpret_cast<const uint4*>(address));
}

// Eight weights as three terms of four pairs.
struct SplitWeights {
  uint4 term[3];
};

__device__ __forceinline__ uint32_t SplitPair(float& a, float& b) {
  const uint32_t pair = PackBf16(a, b);
  a -= LowBf16(pair);
  b -= HighBf16(pair);
  return pair;
}

// The weights of a lane: row 8·tile + g of fn, dims 8c .. 8c+7 of a chunk and stream.
struct RawWeights {
  uint4 low, high;
};

__device__ __forceinline__ RawWeights LoadWeights(const HcMixArgs& args, int row, int stream,
                                                  int first_dim) {
  if (row >= args.mixes) return {};
  const float* w = args.fn + (int64_t{row} * kHcStreams + stream) * args.dim + first_dim;
  return {ptx::LoadStream(w), ptx::LoadStream(w + 4)};
}

__device__ __forceinline__ SplitWeights Split(const RawWeights& raw) {
  float w[8] = {__uint_as_float(raw.low.x),  __uint_as_float(raw.low.y),
                __uint_as_float(raw.low.z),  __uint_as_float(raw.low.w),
                __uint_as_float(raw.high.x), __uint_as_float(raw.high.y),
                __uint_as_float(raw.high.z), __uint_as_float(raw.high.w)};
  SplitWeights split;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    split.term[i].x = SplitPair(w[0], w[1]);
    split.term[i].y = SplitPair(w[2], w[3]);
    split.term[i].z = SplitPair(w[4], w[5]);
    split.term[i].w = SplitPair(w[6], w[7]);
  }
  return split;
}

// One stream's 32 products of 16 tokens and 8 mixes; x0 is row g, x1 row g + 8.
__device__ __forceinline__ void StreamProduct(const uint4& x0, const uint4& x1,
                                              const SplitWeights& weights, float (&sum)[4]) {
  const uint32_t first[4] = {x0.x, x1.x, x0.y, x1.y}, second[4] = {x0.z, x1.z, x0.w, x1.w};
  float term[3][4] = {};
  // All firsts, then all seconds: a second waits for its first.
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    ptx::MmaBf16(term[i], first, {weights.term[i].x, weights.term[i].y});
  }
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    ptx::MmaBf16(term[i], second, {weights.term[i].z, weights.term[i].w});
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) sum[i] = __fadd_rn(__fadd_rn(term[2][i], term[1][i]), term[0][i]);
}

// Σ of the squares of a row's 32 dims: eight of each of the four lanes, in all four.
__device__ __forceinline__ float StreamSquares(const uint4& x) {
  const uint32_t pairs[4] = {x.x, x.y, x.z, x.w};
  float sum = 0;
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    sum = __fmaf_rn(LowBf16(pairs[p]), LowBf16(pairs[p]), sum);
    sum = __fmaf_rn(HighBf16(pairs[p]), HighBf16(pairs[p]), sum);
  }
  sum = __fadd_rn(sum, __shfl_xor_sync(0xFFFFFFFFu, sum, 1));
  return __fadd_rn(sum, __shfl_xor_sync(0xFFFFFFFFu, sum, 2));
}

// hc_post of one value: Σ_i comb[i,j]·x[i] from the first, then post[j]·y on top, fused.
__device__ __forceinline__ float PostValue(const float (&x)[kHcStreams],
                                           const float (&comb)[kHcStreams], float post, float y) {
  float sum = __fmul_rn(comb[0], x[0]);
#pragma unroll
  for (int i = 1; i < kHcStreams; ++i) sum = __fmaf_rn(comb[i], x[i], sum);
  return __fmaf_rn(post, y, sum);
}

// Stream j of eight dims; comb[i] is comb[i,j].
__device__ __forceinline__ uint4 PostVector(const uint4 (&x)[kHcStreams], const uint4& y,
                                            const float (&comb)[kHcStreams], float post) {
  const uint32_t pairs[kHcStreams][4] = {{x[0].x, x[0].y, x[0].z, x[0].w},
                                         {x[1].x, x[1].y, x[1].z, x[1].w},
                                         {x[2].x, x[2].y, x[2].z, x[2].w},
                                         {x[3].x, x[3].y, x[3].z, x[3].w}};
  const uint32_t ys[4] = {y.x, y.y, y.z, y.w};
  uint32_t out[4];
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    float low[kHcStreams], high[kHcStreams];
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
      low[i] = LowBf16(pairs[i][p]);
      high[i] = HighBf16(pairs[i][p]);
    }
    out[p] = PackBf16(PostValue(low, comb, post, LowBf16(ys[p])),
                      PostValue(high, comb, post, HighBf16(ys[p])));
  }
  return {out[0], out[1], out[2], out[3]};
}

}  // namespace tandem::kernels::cuda
