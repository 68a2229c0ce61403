// SPDX-License-Identifier: Apache-2.0
// What follows the mixing product of a token: its partial sums to the weights of the streams and,
// by Sinkhorn, to post and comb (one warp); collapse and, where wanted, norm and quantisation (any
// number of warps, vectors of eight dims).
//
// Sinkhorn keeps the matrix as diag(r)·K·diag(c), K the softmax, all in each lane's registers: a
// step is four sums of four and four reciprocals, r = 1/(K·c). One warp's instructions are what it
// takes, so eps is added only where a sum may be small, in the first step: later ones divide by
// what is near one, and a factor 1 + eps stands for eps. The same function as hc_pre.h's but for
// roundings and 1e-6 of what a step still changes. M = 4. Internal to kernels/hc.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/hc/hc_mix.cuh"
#include "kernels/norm/pair_sum.cuh"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels::cuda {

inline constexpr int kMaxHcWarps = 31;                  // with one vector a lane
inline constexpr int kMaxHcDim = kMaxHcWarps * 32 * 8;  // 7,936
inline constexpr int kMaxHcGroups = kMaxHcDim / kHcChunk / kHcGroup;

enum class HcOutput { kHead, kPre, kQuant };

struct HcFinishArgs {
  const float* partial = nullptr;  // [T, entries, kHcPartial]
  int entries = 0;
  int per_group = 0;  // entries a group: 8 (chunks) or 1
  const Bf16* streams = nullptr;
  const float* base = nullptr;
  const float* scale = nullptr;
  int tokens = 0;
  int dim = 0;
  float norm_eps = 0;
  float hc_eps = 0;
  int iterations = 0;
  Bf16* x = nullptr;      // [T, D]
  float* pre = nullptr;   // [T, 4], between HcWeigh and HcCollapse
  float* post = nullptr;  // [T, 4]
  float* comb = nullptr;  // [T, 4, 4]
  const Bf16* norm = nullptr;
  E4M3* q = nullptr;
  Ue8m0* q_scale = nullptr;
};

__device__ __forceinline__ float Sigmoid(float z) {
  return __fdividef(1.0f, 1.0f + expf(-z));
}

// By the special unit: Newton's steps from an integer's estimate take 0.9 µs longer over 20 rounds
// of Sinkhorn.
__device__ __forceinline__ float Reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Σ of one group's entries, in order.
__device__ __forceinline__ float GroupSum(const HcFinishArgs& args, int64_t token, int group,
                                          int lane) {
  const int first = group * kHcGroup, n = min(kHcGroup, args.entries - first);
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
  const float grown = own * (1 + eps);
  float k[kHcStreams][kHcStreams];
#pragma unroll
  for (int i = 0; i < kHcStreams * kHcStreams; ++i) {
    k[i / kHcStreams][i % kHcStreams] = __shfl_sync(kAll, grown, 2 * kHcStreams + i);
  }
  float r[kHcStreams] = {1, 1, 1, 1}, c[kHcStreams];  // the rows are a softmax's
#pragma unroll
  for (int i = 0; i < kHcStreams; ++i) {
    const float column = (k[0][i] + k[1][i]) + (k[2][i] + k[3][i]);
    c[i] = Reciprocal(__fmaf_rn(column, Reciprocal(1 + eps), eps));
  }
  const auto step = [&] {
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) {
      float row = __fmul_rn(k[j][0], c[0]);
#pragma unroll
      for (int i = 1; i < kHcStreams; ++i) row = __fmaf_rn(k[j][i], c[i], row);
      r[j] = Reciprocal(row);
    }
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
      float column = __fmul_rn(k[0][i], r[0]);
#pragma unroll
      for (int j = 1; j < kHcStreams; ++j) column = __fmaf_rn(k[j][i], r[j], column);
      c[i] = Reciprocal(column);
    }
  };
  for (; iterations > 2; iterations -= 2) {
    step();
    const float before[kHcStreams] = {c[0], c[1], c[2], c[3]};
    step();
    uint32_t changed = 0;
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
      changed |= __float_as_uint(before[i]) ^ __float_as_uint(c[i]);
    }
    if (changed == 0) break;  // nor would it ever again: a step is a function of c
  }
  if (iterations > 1) step();
  const int j = (lane / kHcStreams + 2) % kHcStreams, i = lane % kHcStreams;
  const float row = j == 0 ? r[0] : j == 1 ? r[1] : j == 2 ? r[2] : r[3];
  const float column = i == 0 ? c[0] : i == 1 ? c[1] : i == 2 ? c[2] : c[3];
  return own * row * column;
}

// What the warp that weighs a token's streams needs beside the token: lane n has mix n's.
struct MixWeights {
  float scale = 0, base = 0, inverse_size = 0;  // 1 / (4·D)
};

template <HcOutput kOutput>
__device__ __forceinline__ MixWeights LoadMixWeights(const HcFinishArgs& args, int lane) {
  constexpr int kMixes = kOutput == HcOutput::kHead ? kHcStreams : kHcMixes;
  const float inverse_size = __frcp_rn(static_cast<float>(kHcStreams * args.dim));
  if (lane >= kMixes) return {.inverse_size = inverse_size};
  return {args.scale[lane < kHcStreams       ? 0
                     : lane < 2 * kHcStreams ? 1
                                             : 2],
          args.base[lane], inverse_size};
}

// Lane n has the whole sum of mix n, lane kHcSquare the squares'. Gives pre in lanes 0..3, in time;
// `logit` is what PostAndComb wants.
__device__ __forceinline__ float PreOf(const HcFinishArgs& args, float sum,
                                       const MixWeights& weights, float* logit) {
  const float squares = __shfl_sync(0xFFFFFFFFu, sum, kHcSquare);
  const float r = rsqrtf(__fmaf_rn(squares, weights.inverse_size, args.norm_eps));
  *logit = __fmaf_rn(__fmul_rn(sum, r), weights.scale, weights.base);
  return Sigmoid(*logit) + args.hc_eps;
}

// post in lanes 4..7, comb in lanes 8..23; the whole warp.
__device__ __forceinline__ void PostAndComb(const HcFinishArgs& args, int64_t token, float logit) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane / kHcStreams == 1) {
    args.post[token * kHcStreams + lane - kHcStreams] = 2 * Sigmoid(logit);
  }
  const float comb = Sinkhorn(lane < kHcMixes ? logit : 0.0f, args.hc_eps, args.iterations, lane);
  const int place = lane - 2 * kHcStreams;
  if (place >= 0 && place < kHcStreams * kHcStreams) {
    args.comb[token * kHcStreams * kHcStreams + place] = comb;
  }
}

// bf( Σ_i pre[i]·x[i] ) of eight dims, i ascending.
__device__ __forceinline__ uint4 CollapseVector(const uint4 (&x)[kHcStreams],
                                                const float (&pre)[kHcStreams]) {
  const uint4 zero = {};
  const float weights[kHcStreams] = {pre[0], pre[1], pre[2], pre[3]};
  return PostVector(x, zero, weights, 0.0f);
}

// Norm, weight and quantisation of a row, of which `threads` threads have kVectors vectors each (as
// RowSum).
template <int kVectors>
__device__ __forceinline__ void NormAndQuantise(const HcFinishArgs& args, int64_t token,
                                                const uint4 (&x)[kVectors],
                                                const uint4 (&norm)[kVectors], int threads,
                                                PairSum* shared) {
  constexpr int kGroupLanes = kActGroup / 8;
  const float r =
      InverseRms(RowSum(x, threads, shared), static_cast<float>(args.dim), args.norm_eps);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int d = 8 * (static_cast<int>(threadIdx.x) + threads * v);
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
    const float inverse = InverseScale(scale);
    uint32_t codes[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t low =
          PackE4M3(LowBf16(pairs[2 * h]) * inverse, HighBf16(pairs[2 * h]) * inverse);
      const uint32_t high =
          PackE4M3(LowBf16(pairs[2 * h + 1]) * inverse, HighBf16(pairs[2 * h + 1]) * inverse);
      codes[h] = scale.bits == 0xFF ? 0x7F7F7F7Fu : low | (high << 16);
    }
    const int64_t at = token * args.dim + d;
    *reinterpret_cast<uint4*>(args.x + at) = y;
    *reinterpret_cast<uint2*>(args.q + at) = {codes[0], codes[1]};
    if (threadIdx.x % kGroupLanes == 0) args.q_scale[at / kActGroup] = scale;
  }
}

// The threads' vectors of a token's streams, and of the norm's weight.
template <int kVectors>
__device__ __forceinline__ void LoadStreams(const HcFinishArgs& args, int64_t token, int threads,
                                            uint4 (&raw)[kVectors][kHcStreams]) {
  const Bf16* streams = args.streams + token * kHcStreams * args.dim;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int d = 8 * (static_cast<int>(threadIdx.x) + threads * v);
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
      raw[v][i] = d < args.dim ? LoadL2(streams + i * args.dim + d) : uint4{};
    }
  }
}

template <HcOutput kOutput, int kVectors>
__device__ __forceinline__ void LoadNorm(const HcFinishArgs& args, int threads,
                                         uint4 (&norm)[kVectors]) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int d = 8 * (static_cast<int>(threadIdx.x) + threads * v);
    norm[v] = kOutput == HcOutput::kQuant && d < args.dim
                  ? *reinterpret_cast<const uint4*>(args.norm + d)
                  : uint4{};
  }
}

// The end of a token, its streams' vectors and weights in hand.
template <HcOutput kOutput, int kVectors>
__device__ __forceinline__ void CollapseToken(const HcFinishArgs& args, int64_t token,
                                              const float (&pre)[kHcStreams],
                                              const uint4 (&raw)[kVectors][kHcStreams],
                                              const uint4 (&norm)[kVectors], int threads,
                                              PairSum* shared) {
  uint4 x[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) x[v] = CollapseVector(raw[v], pre);
  if constexpr (kOutput == HcOutput::kQuant) {
    NormAndQuantise(args, token, x, norm, threads, shared);
  } else {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int d = 8 * (static_cast<int>(threadIdx.x) + threads * v);
      if (d < args.dim) *reinterpret_cast<uint4*>(args.x + token * args.dim + d) = x[v];
    }
  }
}

}  // namespace tandem::kernels::cuda
