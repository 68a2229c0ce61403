// SPDX-License-Identifier: Apache-2.0
// The choice of experts and their weights on a device, a token a warp (gate_score.h, gate_hash.h).
// Internal to kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/common/tensor.h"

namespace tandem::kernels::cuda {

inline constexpr int kMaxExperts = 512;
inline constexpr int kMaxTopk = 32;

// SqrtSoftplus (gate_score.h): in fp64, as the choice must be the reference's.
__device__ __forceinline__ float ScoreOf(float logit) {
  const double l = logit, positive = l < 0 ? 0 : l;
  return static_cast<float>(sqrt(positive + log1p(exp(-fabs(l)))));
}

// Orders as floats do; a NaN counts as −∞. 0 is below everything.
__device__ __forceinline__ uint32_t OrderedKey(float x) {
  if (!(x == x)) x = -__int_as_float(0x7F800000);
  const uint32_t bits = __float_as_uint(x + 0.0f);  // −0 → 0
  return bits ^ ((bits >> 31) != 0 ? 0xFFFFFFFFu : 0x80000000u);
}

// Lane k's: expert number k of a token's, and its score.
struct Choice {
  int expert = 0;
  float score = 0;
};

// The `topk` largest keys of experts 0 .. count−1, ties to the lowest: lane k returns number k.
// key[i] is that of expert 32·i + lane, 0 beyond the last, score[i] its score.
template <int kPerLane>
__device__ __forceinline__ Choice ChooseLargest(uint32_t (&key)[kPerLane],
                                                const float (&score)[kPerLane], int topk) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  Choice mine;
#pragma unroll 1
  for (int k = 0; k < topk; ++k) {
    uint32_t best = 0;
#pragma unroll
    for (const uint32_t candidate : key) best = best > candidate ? best : candidate;
    best = __reduce_max_sync(0xFFFFFFFFu, best);
    uint32_t first = kMaxExperts;
#pragma unroll
    for (int i = kPerLane - 1; i >= 0; --i) {
      if (key[i] == best) first = static_cast<uint32_t>(32 * i + lane);
    }
    first = __reduce_min_sync(0xFFFFFFFFu, first);
    float won = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (first == static_cast<uint32_t>(32 * i + lane)) key[i] = 0, won = score[i];
    }
    won = __shfl_sync(0xFFFFFFFFu, won, static_cast<int>(first % 32));
    if (lane == k) mine = {static_cast<int>(first), won};
  }
  return mine;
}

// The same from scores and biases; score(e) reads one.
template <int kPerLane, typename Score>
__device__ __forceinline__ Choice ChooseByScore(Score score, const float* bias, int count,
                                                int topk) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint32_t key[kPerLane];
  float scores[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int e = 32 * i + lane;
    scores[i] = e < count ? score(e) : 0.0f;
    key[i] = e < count ? OrderedKey(scores[i] + bias[e]) : 0;
  }
  return ChooseLargest(key, scores, topk);
}
template <typename Score>
__device__ __forceinline__ Choice ChooseByScore(Score score, const float* bias, int count,
                                                int topk) {
  return count <= kMaxExperts / 2 ? ChooseByScore<kMaxExperts / 64>(score, bias, count, topk)
                                  : ChooseByScore<kMaxExperts / 32>(score, bias, count, topk);
}

// Lane k < topk: the weight of a score, given those of all lanes; summed in lane order.
__device__ __forceinline__ float WeightOf(float score, int topk, float factor) {
  float sum = 0;
#pragma unroll 1
  for (int k = 0; k < topk; ++k) sum += __shfl_sync(0xFFFFFFFFu, score, k);
  return score / sum * factor;
}

// Lane k < topk: entry k of the token's row of the table; −1 where token or entry is outside.
__device__ __forceinline__ int TableExpert(const TensorView<const int64_t, 2>& tid2eid,
                                           int64_t token, int64_t count) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (token < 0 || token >= tid2eid.shape[0] || lane >= tid2eid.shape[1]) return -1;
  const int64_t expert = tid2eid.row(token)[lane];
  return expert >= 0 && expert < count ? static_cast<int>(expert) : -1;
}

}  // namespace tandem::kernels::cuda
