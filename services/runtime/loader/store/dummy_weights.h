// SPDX-License-Identifier: Apache-2.0
// DummyWeights: made-up tensors of any model, for trying out sizes and speeds without a checkpoint.
//
// Whatever is asked for is there, with values that keep activations sane through many layers:
// weights of linears with a deviation of 1/sqrt(inputs), norms near one, the rest small; no NaN;
// tables of experts name different ones that exist. The same name always has the same values, so
// ranks that each take their part hold one model. Tensors are windows into runs of a few megabytes,
// so none takes memory of its own, and rows of a large one come again after some thousand. Answers
// are noise. Not thread-safe while it is asked.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/runtime/loader/store/repeated_bytes.h"
#include "services/runtime/loader/store/tensor_store.h"

namespace tandem {

class DummyWeights final : public TensorStore {
 public:
  absl::StatusOr<const TensorBytes*> Find(const TensorAsk& ask) override;
  const absl::btree_map<std::string, TensorBytes>& tensors() const override { return tensors_; }

 private:
  absl::StatusOr<absl::Span<const std::byte>> Window(const TensorAsk& ask, int64_t bytes);
  absl::Span<const std::byte> ExpertTable(const TensorAsk& ask);

  absl::btree_map<std::string, TensorBytes> tensors_;
  std::map<std::pair<int, int>, RepeatedBytes> runs_;  // by how their values are distributed
  std::vector<std::vector<int64_t>> tables_;
};

}  // namespace tandem
