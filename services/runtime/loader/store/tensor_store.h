// SPDX-License-Identifier: Apache-2.0
// TensorStore: where tensors come from by name: a checkpoint, or made-up ones.
//
// The tensors' bytes live as long as the store. Not thread-safe while it is asked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "services/runtime/loader/store/safetensors.h"

namespace tandem {

// What the model expects under a name; who makes values up goes by it.
struct TensorAsk {
  const std::string name;
  Dtype dtype = Dtype::kI8;
  const std::vector<int64_t> shape;
  int64_t inputs = 0;  // k, of a linear layer's weight or scale
  int64_t below = 0;   // a table's values lie in [0, below)
};

class TensorStore {
 public:
  virtual ~TensorStore() = default;

  // Valid until the next call. What is there may differ from what was asked for. The message of an
  // error goes on behind the tensor's name: "is missing".
  virtual absl::StatusOr<const TensorBytes*> Find(const TensorAsk& ask) = 0;
  // All there are; made-up ones once they were asked for.
  virtual const absl::btree_map<std::string, TensorBytes>& tensors() const = 0;
};

}  // namespace tandem
