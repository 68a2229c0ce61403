// SPDX-License-Identifier: Apache-2.0
// What the two kernels of moe_experts for few tokens get: the first makes h[pair] = swiglu(w1·x,
// w3·x), the second y = Σ w2·h; plan.cuh says what a pair is. Internal to kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/moe/moe_experts_small.h"
#include "kernels/moe/tile_product.cuh"

namespace tandem::kernels::cuda {

struct SmallArguments {
  HalfRows x;                         // [T, D]
  const Bf16* unquantised = nullptr;  // x of one token instead
  Routes routes;
  int32_t* chosen = nullptr;       // [T, K] experts for the second kernel, where the first chooses
  float* chosen_weight = nullptr;  // [T, K]
  MatrixSet w1[2], w3[2], w2[2];   // routed, shared
  int32_t dim = 0, inner = 0, shared_inner = 0;
  int32_t shared_block = 0;  // the first block that has a tile of the shared expert
  float limit = 0;
  Bf16* h = nullptr;         // [T·K, I]
  Bf16* shared_h = nullptr;  // [T, J]
  Bf16* y = nullptr;         // [T, D]

  __device__ int tokens() const { return routes.tokens; }
  __device__ int pairs() const { return routes.tokens * routes.topk; }
};

}  // namespace tandem::kernels::cuda
