// SPDX-License-Identifier: Apache-2.0
// What the kernels of moe_experts for up to tens of tokens get: the first makes h[pair] =
// swiglu(w1·x, w3·x), the second Σ w2·h; plan.cuh, or tile_list.cuh, says what a pair is. Internal
// to kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/moe/moe_experts_small.h"
#include "kernels/moe/tile_product.cuh"

namespace tandem::kernels::cuda {

// Weights, routed and shared, their sizes, and what stands between the products.
struct ExpertProducts {
  HalfRows x;  // [T, D]
  MatrixSet w1[2], w3[2], w2[2];
  int32_t dim = 0, inner = 0, shared_inner = 0;
  float limit = 0;
  Bf16* h = nullptr;         // [T·K, I]
  Bf16* shared_h = nullptr;  // [T, J]
};
inline ExpertProducts ProductsOf(const MoeExpertsArgs& args, const HalfRows& x, Scratch& scratch) {
  const int64_t inner = args.routed.shape[0] > 0 ? args.routed[0].w2.k : 0;
  const int64_t shared_inner = args.shared.w2.k;
  return {.x = x,
          .w1 = {RoutedSet(args.routed, &ExpertWeights::w1), SetOf(args.shared.w1, 0)},
          .w3 = {RoutedSet(args.routed, &ExpertWeights::w3), SetOf(args.shared.w3, 0)},
          .w2 = {RoutedSet(args.routed, &ExpertWeights::w2), SetOf(args.shared.w2, 0)},
          .dim = static_cast<int32_t>(args.x.shape[1]),
          .inner = static_cast<int32_t>(inner),
          .shared_inner = static_cast<int32_t>(shared_inner),
          .limit = args.limit,
          .h = scratch.Take<Bf16>(args.experts.size() * inner),
          .shared_h = scratch.Take<Bf16>(args.x.shape[0] * shared_inner)};
}

struct SmallArguments : ExpertProducts {
  const Bf16* unquantised = nullptr;  // x of one token instead
  Routes routes;
  int32_t* chosen = nullptr;       // [T, K] experts for the second kernel, where the first chooses
  float* chosen_weight = nullptr;  // [T, K]
  int32_t shared_block = 0;        // the first block that has a tile of the shared expert
  Bf16* y = nullptr;               // [T, D]

  __device__ int tokens() const { return routes.tokens; }
  __device__ int pairs() const { return routes.tokens * routes.topk; }
};

}  // namespace tandem::kernels::cuda
