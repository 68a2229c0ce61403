// SPDX-License-Identifier: Apache-2.0
// qkv_finish of one vector by a warp. Internal to kernels/attention.
#pragma once

#include "kernels/attention/kv_row.cuh"
#include "kernels/attention/qkv_finish.h"
#include "kernels/common/cuda/reduce.cuh"

namespace tandem::kernels::cuda {

// 1 / sqrt(mean x² + eps) of the warp's vector; the lanes' sums are of type T.
template <typename T>
__device__ __forceinline__ float InverseRms(const KvLane& v, float eps) {
  T sum = 0;
#pragma unroll
  for (const uint32_t pair : v.pairs) {
    const T a = LowBf16(pair), b = HighBf16(pair);
    sum += a * a;
    sum += b * b;
  }
  sum = WarpReduce(sum, Sum());
  return static_cast<float>(1 / sqrt(sum / kHeadDim + static_cast<T>(eps)));
}

// The lanes with rotated dims turn theirs; roundings as the rope's.
__device__ __forceinline__ void Rotate(KvLane& v, const float* cos, const float* sin) {
  constexpr int kPairs = kLaneDims / 2;
  const int first = (static_cast<int>(threadIdx.x) % 32 - kRopeLane) * kPairs;
  if (first < 0) return;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const float a = LowBf16(v.pairs[i]), b = HighBf16(v.pairs[i]);
    const float c = cos[first + i], s = sin[first + i];
    v.pairs[i] = PackBf16(__fsub_rn(__fmul_rn(a, c), __fmul_rn(b, s)),
                          __fadd_rn(__fmul_rn(a, s), __fmul_rn(b, c)));
  }
}

// A head of token t in place.
__device__ __forceinline__ void FinishHead(const QkvFinishArgs& args, int64_t t, int64_t h) {
  Bf16* q = args.q.row(t) + h * kHeadDim;
  KvLane v = LoadLane(q);
  const float r = InverseRms<float>(v, args.eps);
#pragma unroll
  for (uint32_t& pair : v.pairs) pair = PackBf16(LowBf16(pair) * r, HighBf16(pair) * r);
  Rotate(v, args.cos.row(t), args.sin.row(t));
  StoreLane(v, q);
}

// Token t's kv to its row, and to the ring where that is wanted.
__device__ __forceinline__ void FinishKv(const QkvFinishArgs& args, int64_t t) {
  const bool commits = args.commit.ring.base != nullptr;
  if (args.index[t] < 0 && !commits) return;
  KvLane v = LoadLane(args.kv.row(t));
  const KvLane w = LoadLane(args.kv_weight.data);
  const float r = InverseRms<double>(v, args.eps);
#pragma unroll
  for (int i = 0; i < kLaneDims / 2; ++i) {
    v.pairs[i] = PackBf16(LowBf16(w.pairs[i]) * (LowBf16(v.pairs[i]) * r),
                          HighBf16(w.pairs[i]) * (HighBf16(v.pairs[i]) * r));
  }
  Rotate(v, args.cos.row(t), args.sin.row(t));
  if (args.index[t] >= 0) WriteRow(v, args.rows, args.index[t]);
  if (!commits) return;
  const Batch& batch = args.commit.batch;
  WriteRow(v, args.commit.ring,
           int64_t{batch.slot[batch.sequence[t]]} * kWindow + batch.positions[t] % kWindow);
}

// Vector h of token t: a head, or behind them its kv.
__device__ __forceinline__ void FinishVector(const QkvFinishArgs& args, int64_t t, int64_t h) {
  const int64_t heads = args.q.shape[1];
  if (h < heads) {
    FinishHead(args, t, h);
  } else if (h == heads) {
    FinishKv(args, t);
  }
}

}  // namespace tandem::kernels::cuda
