// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/tensor_source.h"

#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/runtime/base/log.h"

namespace tandem {
namespace {

using kernels::LinearWeight;
using kernels::WeightFormat;

constexpr size_t kMaxFaults = 10;

std::string Shown(Dtype dtype, const std::vector<int64_t>& shape) {
  return absl::StrCat(DtypeName(dtype), " [", absl::StrJoin(shape, ", "), "]");
}

// The shard's part of a matrix, in place.
LinearWeight PartOf(const LinearWeight& whole, Split split, const Shard& shard) {
  LinearWeight part = whole;
  if (split == Split::kRows) {
    part.n = shard.Size(whole.n);
    part.bytes = kernels::RowAt(whole, shard.First(whole.n));
    if (whole.scales != nullptr) {
      part.scales = kernels::ScaleRowAt(whole, shard.First(kernels::ScaleRows(whole)));
    }
  } else if (split == Split::kColumns) {
    part.k = shard.Size(whole.k);
    part.row_stride = kernels::RowBytes(whole);
    part.bytes = whole.bytes + shard.First(part.row_stride);
    if (whole.scales != nullptr) {
      part.scale_stride = kernels::ScaleRowBytes(whole);
      part.scales = whole.scales + shard.First(part.scale_stride);
    }
  }
  return part;
}

}  // namespace

void TensorSource::Fault(absl::string_view name, absl::string_view what) {
  if (++fault_count_ <= kMaxFaults)
    faults_.push_back(absl::StrCat(absl::CHexEscape(name), " ", what));
}

absl::Span<const std::byte> TensorSource::Take(const TensorAsk& ask) {
  const absl::StatusOr<const TensorBytes*> tensor = store_.Find(ask);
  if (!tensor.ok()) {
    Fault(ask.name, tensor.status().message());
    return {};
  }
  taken_.insert(ask.name);
  const auto& [dtype, shape, bytes] = **tensor;
  if (dtype != ask.dtype || shape != ask.shape) {
    Fault(ask.name,
          absl::StrCat("must be ", Shown(ask.dtype, ask.shape), ", got ", Shown(dtype, shape)));
    return {};
  }
  return bytes;
}

const std::byte* TensorSource::TakeAligned(const TensorAsk& ask) {
  const absl::Span<const std::byte> bytes = Take(ask);
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  if (address % static_cast<uintptr_t>(DtypeBytes(ask.dtype)) == 0) return bytes.data();
  copies_.push_back(std::make_unique<std::byte[]>(bytes.size()));
  std::memcpy(copies_.back().get(), bytes.data(), bytes.size());
  return copies_.back().get();
}

kernels::TensorView<const kernels::Bf16, 2> TensorSource::Bf16Matrix(const std::string& name,
                                                                     const MatrixShape& shape) {
  const std::byte* data = TakeAligned({name, Dtype::kBf16, {shape.rows, shape.columns}});
  return {reinterpret_cast<const kernels::Bf16*>(data), {shape.rows, shape.columns}};
}

BfVector TensorSource::Bf16Vector(const std::string& name, int64_t size) {
  const std::byte* data = TakeAligned({name, Dtype::kBf16, {size}});
  return {reinterpret_cast<const kernels::Bf16*>(data), {size}};
}

FloatMatrix TensorSource::FloatMatrixOf(const std::string& name, const MatrixShape& shape) {
  const std::byte* data = TakeAligned({name, Dtype::kF32, {shape.rows, shape.columns}});
  return {reinterpret_cast<const float*>(data), {shape.rows, shape.columns}};
}

FloatVector TensorSource::FloatVectorOf(const std::string& name, int64_t size, Split split) {
  const std::byte* data = TakeAligned({name, Dtype::kF32, {size}});
  const FloatVector whole{reinterpret_cast<const float*>(data), {size}};
  if (data == nullptr || split == Split::kWhole) return whole;
  return {whole.data + shard_.First(size), {shard_.Size(size)}};
}

LinearWeight TensorSource::Linear(const std::string& name, const LinearForm& form,
                                  const MatrixShape& shape) {
  const auto [n, k] = shape;
  LinearWeight whole{.format = form.format, .n = n, .k = k};
  const bool scaled = form.format != WeightFormat::kBf16;
  const Dtype dtype = !scaled                             ? Dtype::kBf16
                      : form.format == WeightFormat::kFp8 ? Dtype::kF8E4M3
                                                          : Dtype::kI8;
  const int64_t columns = form.format == WeightFormat::kFp4 ? k / 2 : k;
  const absl::Span<const std::byte> weight =
      Take({.name = name + ".weight", .dtype = dtype, .shape = {n, columns}, .inputs = k});
  absl::Span<const std::byte> scale;
  if (scaled) {
    scale = Take({.name = name + ".scale",
                  .dtype = Dtype::kF8E8M0,
                  .shape = {kernels::ScaleRows(whole), kernels::ScaleRowBytes(whole)},
                  .inputs = k});
  }
  if (weight.empty() || (scaled && scale.empty())) return whole;  // Finish says why
  whole.bytes = reinterpret_cast<const uint8_t*>(weight.data());
  if (scaled) whole.scales = reinterpret_cast<const uint8_t*>(scale.data());
  return PartOf(whole, form.split, shard_);
}

kernels::TensorView<const int64_t, 2> TensorSource::ExpertTable(const std::string& name,
                                                                const MatrixShape& shape,
                                                                int64_t experts) {
  const std::byte* data = TakeAligned(
      {.name = name, .dtype = Dtype::kI64, .shape = {shape.rows, shape.columns}, .below = experts});
  const kernels::TensorView<const int64_t, 2> table{reinterpret_cast<const int64_t*>(data),
                                                    {shape.rows, shape.columns}};
  for (int64_t i = 0; data != nullptr && i < table.size(); ++i) {
    if (table[i] >= 0 && table[i] < experts) continue;
    Fault(name, absl::StrCat("must hold experts from 0 to ", experts - 1, ", element ", i, " is ",
                             table[i]));
    break;
  }
  return table;
}

void TensorSource::SetAside(absl::string_view prefix) {
  size_t count = 0, bytes = 0;
  for (const auto& [name, tensor] : store_.tensors()) {
    if (!absl::StartsWith(name, prefix)) continue;
    taken_.insert(name);
    ++count;
    bytes += tensor.bytes.size();
  }
  if (count == 0) return;
  LogInfo("weights_set_aside", {{"prefix", prefix}, {"tensors", count}, {"bytes", bytes}});
}

absl::Status TensorSource::Finish() {
  for (const auto& [name, tensor] : store_.tensors()) {
    if (!taken_.contains(name)) Fault(name, "has no place in the model");
  }
  if (faults_.empty()) return absl::OkStatus();
  const std::string more = fault_count_ == faults_.size()
                               ? ""
                               : absl::StrCat("; and ", fault_count_ - faults_.size(), " more");
  return absl::InvalidArgumentError(
      absl::StrCat("checkpoint: ", absl::StrJoin(faults_, "; "), more));
}

}  // namespace tandem
