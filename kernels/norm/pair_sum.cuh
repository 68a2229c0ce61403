// SPDX-License-Identifier: Apache-2.0
// A sum of squares as two floats, and 1/√(mean + eps) from it: what mean_square.h does in fp64,
// without fp64, of which SM120 has one unit for every 64 of fp32.
//
// hi is the fp32 sum, lo the sum of what its roundings lost: together about 2^-44 of the sum.
// Adding is the same in either order, so every lane of a warp gets the same pair. The squares
// themselves must be exact in fp32 (bf16 values) or may lose 2^-24; |x| < 2^63. Pure.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"

namespace tandem::kernels::cuda {

struct PairSum {
  float hi = 0, lo = 0;
};

__device__ __forceinline__ PairSum operator+(PairSum a, PairSum b) {
  const float sum = __fadd_rn(a.hi, b.hi);
  const float other = __fsub_rn(sum, a.hi);
  const float lost = __fadd_rn(__fsub_rn(a.hi, __fsub_rn(sum, other)), __fsub_rn(b.hi, other));
  return {sum, __fadd_rn(__fadd_rn(a.lo, b.lo), lost)};
}

__device__ __forceinline__ void AddSquare(float x, PairSum* sum) {
  *sum = *sum + PairSum{__fmul_rn(x, x), 0};
}

// Eight bf16 values.
__device__ __forceinline__ void AddSquares(const uint4& x, PairSum* sum) {
  const uint32_t pairs[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    AddSquare(LowBf16(pairs[p]), sum);
    AddSquare(HighBf16(pairs[p]), sum);
  }
}

template <int kLanes = 32>
__device__ __forceinline__ PairSum WarpSum(PairSum sum) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    const PairSum other = {__shfl_xor_sync(0xFFFFFFFFu, sum.hi, offset),
                           __shfl_xor_sync(0xFFFFFFFFu, sum.lo, offset)};
    sum = sum + other;
  }
  return sum;
}

// Over a row whose vectors of eight the first `threads` of a block (a multiple of 32) hold, vector
// v of a thread at v·threads + threadIdx.x; only they may call it. The sum of 32 vectors is a tree,
// and so are those sums: the same bits for any number of threads. At most 32 such sums, `shared`
// has their places. Synchronises the threads by hardware barrier 1.
template <int kVectors>
__device__ __forceinline__ PairSum RowSum(const uint4 (&x)[kVectors], int threads,
                                          PairSum* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    PairSum sum;
    AddSquares(x[v], &sum);
    sum = WarpSum(sum);
    if (kVectors == 1 && threads == 32) return sum;
    if (lane == 0) shared[v * (threads / 32) + warp] = sum;
  }
  asm volatile("bar.sync 1, %0;" ::"r"(threads) : "memory");
  return WarpSum(lane < threads / 32 * kVectors ? shared[lane] : PairSum{});
}

// Over the first `threads` of a block, a value each; as RowSum.
__device__ __forceinline__ PairSum BlockSum(PairSum sum, int threads, PairSum* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  sum = WarpSum(sum);
  if (threads == 32) return sum;
  if (lane == 0) shared[threadIdx.x / 32] = sum;
  asm volatile("bar.sync 1, %0;" ::"r"(threads) : "memory");
  return WarpSum(lane < threads / 32 ? shared[lane] : PairSum{});
}

// 1/√(sum/n + eps), but for rare ties the fp32 nearest to it.
__device__ __forceinline__ float InverseRms(PairSum sum, float n, float eps) {
  const float hi = __fadd_rn(sum.hi, sum.lo);
  const float lo = __fadd_rn(__fsub_rn(sum.hi, hi), sum.lo);
  const float inverse = __frcp_rn(n);
  const float quotient = __fmul_rn(hi, inverse);
  const float rest = __fmul_rn(__fadd_rn(__fmaf_rn(-quotient, n, hi), lo), inverse);
  const PairSum mean = PairSum{quotient, rest} + PairSum{eps, 0};
  // One Newton step on the hardware's estimate, its error found with the products' lost bits.
  const float y = rsqrtf(mean.hi);
  const float square = __fmul_rn(y, y), lost = __fmaf_rn(y, y, -square);
  float error = __fmaf_rn(-mean.hi, square, 1.0f);
  error = __fmaf_rn(-mean.hi, lost, error);
  error = __fmaf_rn(-mean.lo, square, error);
  return __fmaf_rn(y, 0.5f * error, y);
}

// bf( w·(x·r) ) of eight values.
__device__ __forceinline__ uint4 NormAndWeigh(const uint4& x, const uint4& w, float r) {
  const uint32_t values[4] = {x.x, x.y, x.z, x.w}, weights[4] = {w.x, w.y, w.z, w.w};
  uint32_t out[4];
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    out[p] = PackBf16(__fmul_rn(LowBf16(weights[p]), __fmul_rn(LowBf16(values[p]), r)),
                      __fmul_rn(HighBf16(weights[p]), __fmul_rn(HighBf16(values[p]), r)));
  }
  return {out[0], out[1], out[2], out[3]};
}

}  // namespace tandem::kernels::cuda
