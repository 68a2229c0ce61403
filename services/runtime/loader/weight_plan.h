// SPDX-License-Identifier: Apache-2.0
// WeightPlan: where the weights of a model lie in one piece of memory of their own: each linear in
// the form that a kernel table prepares, and where the table's operations cannot read the host's
// memory, every other tensor.
//
// The order and the places follow from weights and table alone, so two processes with equal ones
// agree. A plan points into the weights, which stay where they are. A value.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/gemm/linear_weight.h"
#include "kernels/kernel_set.h"
#include "services/runtime/model/weights.h"

namespace tandem {

// One of `linear` and `view`.
struct WeightPiece {
  kernels::LinearWeight* linear = nullptr;
  void* view = nullptr;  // of a tensor whose bytes are at `from` before
  const void* from = nullptr;
  void (*move_view)(void* view, uint8_t* to) = nullptr;
  int64_t offset = 0;  // in the memory, a multiple of 256
  int64_t bytes = 0;   // 0: stays where it is
};

struct WeightPlan {
  std::vector<WeightPiece> pieces;
  int64_t bytes = 0;  // of the memory
};

WeightPlan PlanWeights(Weights& weights, const kernels::KernelSet& kernels);

}  // namespace tandem
