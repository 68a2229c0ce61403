// SPDX-License-Identifier: Apache-2.0
// What follows the mixing product of one token, by one block: its partial sums, the weights of the
// streams, the collapse and, where wanted, norm and quantisation; Sinkhorn beside them.
//
// A block is kFinishThreads: 16 warps for the dims, one for Sinkhorn, which nothing here waits for.
// Sinkhorn keeps the matrix as diag(r)·K·diag(c), K the softmax, all in each lane's registers: a
// step is four sums and four reciprocals, the same function as hc_pre.h's but for roundings. M = 4.
// Internal to kernels/hc.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/hc/hc_mix.cuh"
#include "kernels/norm/pair_sum.cuh"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels::cuda {

inline constexpr int kFinishWarps = 16;
inline constexpr int kFinishThreads = 32 * (kFinishWarps + 1);
inline constexpr int kFinishVectors = 2;                                  // of eight dims a thread
inline constexpr int kMaxHcDim = 32 * kFinishWarps * 8 * kFinishVectors;  // 8,192
inline constexpr int kMaxHcGroups = kMaxHcDim / kHcChunk / kHcGroup;

enum class HcOutput { kHead, kPre, kQuant };

struct HcFinishArgs {
  const float* partial = nullptr;  // [T, entries, kHcPartial]
  int entries = 0;
  int per_group = 0;  // entries a group: 8 (chunks) or 1
  const Bf16* streams = nullptr;
  const float* base = nullptr;
  const float* scale = nullptr;
  int dim = 0;
  float norm_eps = 0;
  float hc_eps = 0;
  int iterations = 0;
  Bf16* x = nullptr;      // [T, D]
  float* post = nullptr;  // [T, 4]
  float* comb = nullptr;  // [T, 4, 4]
  const Bf16* norm = nullptr;
  E4M3* q = nullptr;
  Ue8m0* q_scale = nullptr;
};

// What a step leaves in shared memory for the next.
struct HcFinishShared {
  float sums[kMaxHcGroups][kHcPartial];
  float pre[kHcStreams];
  PairSum squares[kFinishWarps];
};

__device__ __forceinline__ float Sigmoid(float z) {
  return __fdividef(1.0f, 1.0f + expf(-z));
}

__device__ __forceinline__ float Reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ uint4 LoadL2(const Bf16* address) {
  return __ldcg(reinterpret_cast<const uint4*>(address));
}

// Σ of one group's entries, in order.
__device__ __forceinline__ float GroupSum(const HcFinishArgs& args, int64_t token, int group,
                                          int lane) {
  const int first = group * args.per_group, n = min(args.per_group, args.entries - first);
  const float* p = args.partial + (token * args.entries + first) * kHcPartial + lane;
  float value[kHcGroup];
#pragma unroll
  for (int i = 0; i < kHcGroup; ++i) value[i] = i < n ? __ldcg(p + kHcPartial * i) : 0.0f;
  float sum = value[0];
#pragma unroll
  for (int i = 1; i < kHcGroup; ++i) sum = __fadd_rn(sum, value[i]);
  return sum;
}

// Softmax of the rows of the logits in lanes 8..23 (8 + 4j + k), and `iterations` of Sinkhorn: the
// result's element in the same lane.
__device__ __forceinline__ float Sinkhorn(float logit, float eps, int iterations, int lane) {
  constexpr uint32_t kAll = 0xFFFFFFFFu;
  float most = fmaxf(logit, __shfl_xor_sync(kAll, logit, 1));
  most = fmaxf(most, __shfl_xor_sync(kAll, most, 2));
  const float power = expf(logit - most);
  float sum = power + __shfl_xor_sync(kAll, power, 1);
  sum += __shfl_xor_sync(kAll, sum, 2);
  const float own = __fdividef(power, sum) + eps;
  float k[kHcStreams][kHcStreams];
#pragma unroll
  for (int i = 0; i < kHcStreams * kHcStreams; ++i) {
    k[i / kHcStreams][i % kHcStreams] = __shfl_sync(kAll, own, 2 * kHcStreams + i);
  }
  float r[kHcStreams] = {1, 1, 1, 1}, c[kHcStreams];
#pragma unroll
  for (int i = 0; i < kHcStreams; ++i) {
    c[i] = Reciprocal(((k[0][i] + k[1][i]) + (k[2][i] + k[3][i])) + eps);
  }
  for (int step = 1; step < iterations; ++step) {
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) {
      const float row = (k[j][0] * c[0] + k[j][1] * c[1]) + (k[j][2] * c[2] + k[j][3] * c[3]);
      r[j] *= Reciprocal(r[j] * row + eps);
    }
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
      const float column = (k[0][i] * r[0] + k[1][i] * r[1]) + (k[2][i] * r[2] + k[3][i] * r[3]);
      c[i] *= Reciprocal(c[i] * column + eps);
    }
  }
  const int j = (lane / kHcStreams + 2) % kHcStreams, i = lane % kHcStreams;
  const float row = j == 0 ? r[0] : j == 1 ? r[1] : j == 2 ? r[2] : r[3];
  const float column = i == 0 ? c[0] : i == 1 ? c[1] : i == 2 ? c[2] : c[3];
  return own * row * column;
}

// The last warp: lane n has mix n. Leaves pre in shared memory for the others.
template <HcOutput kOutput>
__device__ __forceinline__ void WeighStreams(const HcFinishArgs& args, int64_t token,
                                             HcFinishShared* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int groups = (args.entries + args.per_group - 1) / args.per_group;
  constexpr int kMixes = kOutput == HcOutput::kHead ? kHcStreams : kHcMixes;
  const int kind = lane < kHcStreams ? 0 : lane < 2 * kHcStreams ? 1 : 2;
  const float scale = lane < kMixes ? args.scale[kind] : 0.0f;
  const float base = lane < kMixes ? args.base[lane] : 0.0f;
  float mix = shared->sums[0][lane];
  for (int i = 1; i < groups; ++i) mix = __fadd_rn(mix, shared->sums[i][lane]);
  const float squares = __shfl_sync(0xFFFFFFFFu, mix, kHcSquare);
  const float r =
      InverseRms({squares, 0}, static_cast<float>(kHcStreams * args.dim), args.norm_eps);
  const float logit = lane < kMixes ? __fmaf_rn(__fmul_rn(mix, r), scale, base) : 0.0f;
  const float weight = Sigmoid(logit);
  if (lane < kHcStreams) shared->pre[lane] = weight + args.hc_eps;
  __syncthreads();
  if constexpr (kOutput != HcOutput::kHead) {
    if (kind == 1) args.post[token * kHcStreams + lane - kHcStreams] = 2 * weight;
    const float comb = Sinkhorn(logit, args.hc_eps, args.iterations, lane);
    const int place = lane - 2 * kHcStreams;
    if (place >= 0 && place < kHcStreams * kHcStreams) {
      args.comb[token * kHcStreams * kHcStreams + place] = comb;
    }
  }
}

// bf( Σ_i pre[i]·x[i] ) of eight dims, i ascending.
__device__ __forceinline__ uint4 CollapseVector(const uint4 (&x)[kHcStreams],
                                                const float (&pre)[kHcStreams]) {
  const uint4 zero = {};
  const float weights[kHcStreams] = {pre[0], pre[1], pre[2], pre[3]};
  return PostVector(x, zero, weights, 0.0f);
}

// Norm, weight and quantisation of the row whose vectors the block's threads hold.
__device__ __forceinline__ void NormAndQuantise(const HcFinishArgs& args, int64_t token,
                                                uint4 (&x)[kFinishVectors],
                                                const uint4 (&norm)[kFinishVectors],
                                                HcFinishShared* shared) {
  constexpr int kGroupLanes = kActGroup / 8;
  PairSum sum;
#pragma unroll
  for (int v = 0; v < kFinishVectors; ++v) AddSquares(x[v], &sum);
  const float r = InverseRms(BlockSum(sum, 32 * kFinishWarps, shared->squares),
                             static_cast<float>(args.dim), args.norm_eps);
#pragma unroll
  for (int v = 0; v < kFinishVectors; ++v) {
    const int d = 8 * (static_cast<int>(threadIdx.x) + 32 * kFinishWarps * v);
    const uint4 y = NormAndWeigh(x[v], norm[v], r);
    const uint32_t pairs[4] = {y.x, y.y, y.z, y.w};
    float most = kE4M3Floor;
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      most = fmaxf(most, fmaxf(fabsf(LowBf16(pairs[p])), fabsf(HighBf16(pairs[p]))));
    }
#pragma unroll
    for (int offset = kGroupLanes / 2; offset > 0; offset /= 2) {
      most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, offset));
    }
    if (d >= args.dim) continue;
    const Ue8m0 scale = ScaleOf(most, kInverse448);
    const bool nan = scale.bits == 0xFF;
    const float inverse = InverseScale(scale);
    uint32_t codes[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t low =
          PackE4M3(LowBf16(pairs[2 * h]) * inverse, HighBf16(pairs[2 * h]) * inverse);
      const uint32_t high =
          PackE4M3(LowBf16(pairs[2 * h + 1]) * inverse, HighBf16(pairs[2 * h + 1]) * inverse);
      codes[h] = nan ? 0x7F7F7F7Fu : low | (high << 16);
    }
    const int64_t at = token * args.dim + d;
    *reinterpret_cast<uint4*>(args.x + at) = y;
    *reinterpret_cast<uint2*>(args.q + at) = {codes[0], codes[1]};
    if (threadIdx.x % kGroupLanes == 0) args.q_scale[at / kActGroup] = scale;
  }
}

// Every thread of the block. The token's partial sums and streams are written and visible in L2.
template <HcOutput kOutput>
__device__ void FinishToken(const HcFinishArgs& args, int64_t token, HcFinishShared* shared) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int groups = (args.entries + args.per_group - 1) / args.per_group;
  uint4 raw[kFinishVectors][kHcStreams] = {}, norm[kFinishVectors] = {};
  if (warp < kFinishWarps) {
    const Bf16* streams = args.streams + token * kHcStreams * args.dim;
#pragma unroll
    for (int v = 0; v < kFinishVectors; ++v) {
      const int d = 8 * (thread + 32 * kFinishWarps * v);
      if (d >= args.dim) continue;
#pragma unroll
      for (int i = 0; i < kHcStreams; ++i) raw[v][i] = LoadL2(streams + i * args.dim + d);
      if constexpr (kOutput == HcOutput::kQuant) {
        norm[v] = *reinterpret_cast<const uint4*>(args.norm + d);
      }
    }
  }
  for (int group = warp; group < groups; group += kFinishWarps + 1) {
    if (lane <= kHcSquare) shared->sums[group][lane] = GroupSum(args, token, group, lane);
  }
  __syncthreads();
  if (warp == kFinishWarps) {
    WeighStreams<kOutput>(args, token, shared);
    return;
  }
  __syncthreads();
  const float pre[kHcStreams] = {shared->pre[0], shared->pre[1], shared->pre[2], shared->pre[3]};
  uint4 x[kFinishVectors];
#pragma unroll
  for (int v = 0; v < kFinishVectors; ++v) x[v] = CollapseVector(raw[v], pre);
  if constexpr (kOutput == HcOutput::kQuant) {
    NormAndQuantise(args, token, x, norm, shared);
  } else {
#pragma unroll
    for (int v = 0; v < kFinishVectors; ++v) {
      const int d = 8 * (thread + 32 * kFinishWarps * v);
      if (d < args.dim) *reinterpret_cast<uint4*>(args.x + token * args.dim + d) = x[v];
    }
  }
}

}  // namespace tandem::kernels::cuda
