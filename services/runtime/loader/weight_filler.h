// SPDX-License-Identifier: Apache-2.0
// FillWeights: brings the pieces of a plan into its memory, on as many threads as the machine
// gives, and turns the weights to it.
//
// Needs no memory of the weights' size but the plan's. Writes its progress to the log, at most one
// line a second. The first error ends it. Errors: INVALID_ARGUMENT naming a scale that is NaN.
#pragma once

#include "absl/status/status.h"
#include "kernels/kernel_set.h"
#include "services/runtime/loader/store/tensor_store.h"
#include "services/runtime/loader/weight_plan.h"

namespace tandem {

struct FillArgs {
  const WeightPlan& plan;
  const kernels::KernelSet& kernels;
  const TensorStore& store;   // of the plan's weights
  uint8_t* memory = nullptr;  // of the kernels' backend
  int ranks = 1;              // that load on this machine at the same time
};

absl::Status FillWeights(const FillArgs& args);

// Turns the weights of a plan to a memory that was filled by an equal one.
void AdoptWeights(const WeightPlan& plan, uint8_t* memory);

}  // namespace tandem
