// SPDX-License-Identifier: Apache-2.0
// BindWeights: gives every tensor of a store its place in Weights, or names it in an error.
//
// Of a split tensor the place holds the shard's part: rows of wq_b, wo_a, attn_sink, w1 and w3,
// columns of wo_b and w2, in place as all the rest.
// A tensor of the model that is missing, has another dtype or another shape, and a tensor of the
// file that has no place, are each named; the error lists the first ten. `mtp.*`, the drafter, is
// set aside with one log line. Values are checked where a bad one would do harm later: hash tables
// name experts; scales are read when they are prepared (weight_filler.h). Source: specification 2.1
// to 2.4.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "services/runtime/loader/store/tensor_store.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/model/config/shard.h"
#include "services/runtime/model/weights.h"

namespace tandem {

struct BoundWeights {
  Weights weights;  // views into the store, or into `copies`
  // Tensors that lie at an address their type cannot be read from.
  std::vector<std::unique_ptr<std::byte[]>> copies;
};

// `config` is the whole model's, and ShardConfig takes both.
absl::StatusOr<BoundWeights> BindWeights(TensorStore& store, const ModelConfig& config,
                                         const Shard& shard);

}  // namespace tandem
