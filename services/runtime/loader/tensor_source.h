// SPDX-License-Identifier: Apache-2.0
// TensorSource: hands out a store's tensors by name, dtype and shape, and keeps account of which
// were taken.
//
// Shapes are those of the whole tensor; a view is of the rank's part where the tensor is split.
// A tensor that is missing or not as asked gives an empty view and one line in the account;
// Finish() turns the account into a status. Views live as long as the store and the copies.
// Not thread-safe. Errors: INVALID_ARGUMENT from Finish(), naming up to ten tensors and what is
// wrong with each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/gemm/linear_weight.h"
#include "services/runtime/loader/store/tensor_store.h"
#include "services/runtime/model/config/shard.h"
#include "services/runtime/model/weights.h"

namespace tandem {

struct MatrixShape {
  int64_t rows = 0;
  int64_t columns = 0;
};

// Which part of a tensor a rank of the shard takes.
enum class Split { kWhole, kRows, kColumns };

class TensorSource {
 public:
  // The shard divides whatever is asked for split.
  TensorSource(TensorStore& store, const Shard& shard) : store_(store), shard_(shard) {}

  kernels::TensorView<const kernels::Bf16, 2> Bf16Matrix(const std::string& name,
                                                         const MatrixShape& shape);
  BfVector Bf16Vector(const std::string& name, int64_t size);
  FloatMatrix FloatMatrixOf(const std::string& name, const MatrixShape& shape);
  FloatVector FloatVectorOf(const std::string& name, int64_t size, Split split = Split::kWhole);

  struct LinearForm {
    kernels::WeightFormat format = kernels::WeightFormat::kBf16;
    Split split = Split::kWhole;
  };
  // `name`.weight, with `name`.scale where the format has scales; `shape` is the logical one.
  kernels::LinearWeight Linear(const std::string& name, const LinearForm& form,
                               const MatrixShape& shape);
  // I64, every value in [0, experts).
  kernels::TensorView<const int64_t, 2> ExpertTable(const std::string& name,
                                                    const MatrixShape& shape, int64_t experts);

  // Counts every tensor whose name starts with `prefix` as taken; one log line where there are any.
  void SetAside(absl::string_view prefix);
  size_t faults() const { return fault_count_; }
  // What is wrong, tensors that nobody took included.
  absl::Status Finish();
  std::vector<std::unique_ptr<std::byte[]>> TakeCopies() { return std::move(copies_); }

 private:
  // Empty when missing or not as asked.
  absl::Span<const std::byte> Take(const TensorAsk& ask);
  // The same at an address that its dtype can be read from, copied where it has to be.
  const std::byte* TakeAligned(const TensorAsk& ask);
  void Fault(absl::string_view name, absl::string_view what);

  TensorStore& store_;
  const Shard shard_;
  absl::flat_hash_set<std::string> taken_;
  std::vector<std::string> faults_;  // the first ten
  size_t fault_count_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> copies_;
};

}  // namespace tandem
