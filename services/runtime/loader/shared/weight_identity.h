// SPDX-License-Identifier: Apache-2.0
// IdentityOf: what tells one copy of prepared weights from another, in a line for people as well.
//
// Two that are equal were prepared alike from equal tensors: names, types and shapes of all of
// them, and some bytes of some, which tells a model from a finer tuned one without reading it. Not
// made against somebody who wants to deceive. Pure.
#pragma once

#include <string>

#include "services/runtime/loader/store/tensor_store.h"
#include "services/runtime/loader/weight_plan.h"
#include "services/runtime/model/config/shard.h"

namespace tandem {

struct IdentityArgs {
  const TensorStore& store;  // all that the weights ask for was asked for
  const WeightPlan& plan;
  const Shard& shard;
  const kernels::KernelTable& table;
};

std::string IdentityOf(const IdentityArgs& args);

}  // namespace tandem
