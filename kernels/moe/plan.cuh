// SPDX-License-Identifier: Apache-2.0
// Which experts a step of few tokens uses, found by every block for itself: its pairs grouped by
// expert, from the router's scores or from a list of experts.
//
// A pair is slot k of token t, number t·K + k. Of the pairs of one expert the first stands for all,
// for at most as many as there are tokens: an expert that tokens name more often has two entries.
// Internal to kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/moe/gate.cuh"
#include "kernels/moe/moe_experts_small.h"

namespace tandem::kernels::cuda {

struct Plan {
  int count;                     // entries
  int8_t first[kSmallPairs];     // of each entry, its first pair
  uint64_t same[kSmallPairs];    // and all the pairs that it stands for
  int32_t experts[kSmallPairs];  // of every pair, counted from the first one here; −1: not here
  uint16_t equal[kSmallPairs][kSmallPairs / 16];  // bit q of pair p: they name the same expert
  float weight[kSmallPairs];
  int8_t order[kSmallPairs];  // [T, K] a token's pairs by ascending expert
  int8_t used[kSmallTokens];  // how many of them are here

  __device__ int expert(int entry) const { return experts[first[entry]]; }
};

// The columns of a product: `count` pairs (or tokens), number j in lanes j, j + 8, ….
struct Columns {
  int count = 0;
  int mine = 0;

  // Number j, or the last one beyond it; by the whole warp.
  __device__ int of(int j) const { return __shfl_sync(0xFFFFFFFFu, mine, min(j, count - 1)); }
};

__device__ __forceinline__ Columns TokenColumns(int tokens) {
  return {tokens, static_cast<int>(threadIdx.x) % 8};
}

__device__ __forceinline__ Columns ColumnsOf(const Plan& plan, int entry, int tokens) {
  uint64_t same = plan.same[entry];
  const int count = min(__popcll(same), tokens), n = static_cast<int>(threadIdx.x) % 8;
  if (count > 1) {
    for (int i = 0; i < n; ++i) same &= same - 1;
  }
  return {count, same == 0 ? 0 : __ffsll(static_cast<int64_t>(same)) - 1};
}

// Lane k's expert, −1 if it is not here, and its weight, of a token; by a warp. kChooses: the
// routes may have scores; else they are listed. Past L1, which may hold what stood there a step
// ago: a kernel may be here before its wait (see DownKernel).
struct Route {
  int expert = -1;
  float weight = 0;
};
template <bool kChooses>
__device__ __forceinline__ Route RouteOf(const Routes& routes, int token) {
  const int k = static_cast<int>(threadIdx.x) % 32, topk = routes.topk;
  Choice choice{.expert = -1};
  Route route;
  if (!kChooses || routes.scores == nullptr) {
    if (k < topk) {
      choice.expert = __ldcg(routes.experts + token * topk + k);
      route.weight = __ldcg(routes.weight + token * topk + k);
    }
  } else {
    const float* scores = routes.scores + token * routes.score_count;
    const auto score = [scores](int e) { return __ldcg(scores + e); };
    if (routes.bias == nullptr) {
      choice.expert =
          TableExpert(routes.tid2eid, __ldcg(routes.token_ids + token), routes.score_count);
      if (k < topk && choice.expert >= 0) choice.score = score(choice.expert);
    } else {
      choice = ChooseByScore<kMaxExperts / 32>(score, routes.bias, routes.score_count, topk);
    }
    const bool on = k < topk && choice.expert >= 0;
    route.weight = WeightOf(on ? choice.score : 0.0f, topk, routes.routed_scaling_factor);
    if (!on) return {-1, route.weight};
  }
  const int e = choice.expert - routes.first_expert;
  if (choice.expert >= routes.first_expert && e < routes.expert_count) route.expert = e;
  return route;
}

// Groups the pairs; by the block, which has synchronised after LoadRoutes and does so before it
// reads the groups.
__device__ __forceinline__ void GroupPairs(const Routes& routes, Plan& plan) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int pairs = routes.tokens * routes.topk, warps = static_cast<int>(blockDim.x) / 32;
  const int32_t mine[2] = {plan.experts[lane], plan.experts[lane + 32]};
  for (int part = warp; 16 * part < pairs; part += warps) {
    uint32_t equal[2] = {};
#pragma unroll
    for (int q = 0; q < 16; ++q) {
      const int32_t other = plan.experts[16 * part + q];
#pragma unroll
      for (int i = 0; i < 2; ++i) equal[i] |= static_cast<uint32_t>(other == mine[i]) << q;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      plan.equal[lane + 32 * i][part] = static_cast<uint16_t>(equal[i]);
    }
  }
  __syncthreads();
  if (warp > 0) return;
  int count = 0;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int p = lane + 32 * i;
    uint64_t same = 0;
#pragma unroll
    for (int part = 0; part < kSmallPairs / 16; ++part) {
      if (16 * part < pairs) same |= uint64_t{plan.equal[p][part]} << (16 * part);
    }
    const int before = __popcll(same & ((uint64_t{1} << p) - 1));
    const bool first = mine[i] >= 0 && before % routes.tokens == 0;
    const uint32_t firsts = __ballot_sync(0xFFFFFFFFu, first);
    if (first) {
      const int at = count + __popc(firsts & ((1u << lane) - 1));
      plan.first[at] = static_cast<int8_t>(p);
      plan.same[at] = same >> p << p;
    }
    count += __popc(firsts);
  }
  if (lane == 0) plan.count = count;
}

// A token's pairs in order; by one warp.
__device__ __forceinline__ void OrderPairs(const Routes& routes, Plan& plan) {
  const int lane = static_cast<int>(threadIdx.x) % 32, topk = routes.topk;
  for (int p = lane; p < routes.tokens * topk; p += 32) {
    const int t = p / topk, e = plan.experts[p];
    int rank = 0, used = 0;
    for (int q = t * topk; q < (t + 1) * topk; ++q) {
      const int other = plan.experts[q];
      rank += other >= 0 && (other < e || (other == e && q < p));
      used += other >= 0;
    }
    if (e >= 0) plan.order[t * topk + rank] = static_cast<int8_t>(p);
    if (p % topk == 0) plan.used[t] = static_cast<int8_t>(used);
  }
}

// The plan of one token, where every pair is an entry; by one warp.
template <bool kOrdered>
__device__ __forceinline__ void PlanOfOne(const Route& route, int topk, Plan& plan) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool here = route.expert >= 0;
  const uint32_t all = __ballot_sync(0xFFFFFFFFu, here);
  plan.experts[lane] = route.expert;
  plan.weight[lane] = route.weight;
  const int at = __popc(all & ((1u << lane) - 1));
  if (here) {
    plan.first[at] = static_cast<int8_t>(lane);
    plan.same[at] = uint64_t{1} << lane;
  }
  if (lane == 0) plan.count = __popc(all);
  if constexpr (!kOrdered) return;
  int rank = 0;
#pragma unroll 1
  for (int k = 0; k < topk; ++k) {
    const int other = __shfl_sync(0xFFFFFFFFu, route.expert, k);
    rank += other >= 0 && (other < route.expert || (other == route.expert && k < lane));
  }
  if (here) plan.order[rank] = static_cast<int8_t>(lane);
  if (lane == 0) plan.used[0] = static_cast<int8_t>(__popc(all));
}

// Makes the plan; by the block, which is synchronised at the end. kChooses as in RouteOf;
// kOrdered: with the order of each token's pairs.
template <bool kChooses, bool kOrdered>
__device__ __forceinline__ void MakePlan(const Routes& routes, Plan& plan) {
  const int lane = static_cast<int>(threadIdx.x) % 32, topk = routes.topk;
  const int warp = static_cast<int>(threadIdx.x) / 32, warps = static_cast<int>(blockDim.x) / 32;
  const int pairs = routes.tokens * topk;
  if (routes.tokens == 1) {
    if (warp == 0) PlanOfOne<kOrdered>(RouteOf<kChooses>(routes, 0), topk, plan);
    __syncthreads();
    return;
  }
#pragma unroll 1
  for (int p = pairs + static_cast<int>(threadIdx.x); p < kSmallPairs;
       p += static_cast<int>(blockDim.x)) {
    plan.experts[p] = -1;
  }
#pragma unroll 1
  for (int t = warp; t < routes.tokens; t += warps) {
    const Route route = RouteOf<kChooses>(routes, t);
    if (lane >= topk) continue;
    plan.experts[t * topk + lane] = route.expert;
    plan.weight[t * topk + lane] = route.weight;
  }
  __syncthreads();
  if constexpr (kOrdered) {
    if (warp == warps - 1) OrderPairs(routes, plan);
  }
  GroupPairs(routes, plan);
  __syncthreads();
}

}  // namespace tandem::kernels::cuda
