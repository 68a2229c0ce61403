// SPDX-License-Identifier: Apache-2.0
// SafetensorsFile: one memory-mapped .safetensors file and its table of tensors.
//
// Format: u64 little-endian header length, that many bytes of JSON, then the tensors' bytes. Open
// checks the whole table: every dtype is one of ours, every shape fits its bytes, and the tensors
// tile the data without gap or overlap. Bytes are not read. Views live as long as the file object
// (moving it keeps them valid). Thread-safe once open. Errors: INVALID_ARGUMENT naming file, tensor
// and fault.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/runtime/loader/store/mapped_file.h"

namespace tandem {

// The dtypes of released checkpoints, named as in the files.
enum class Dtype { kF8E4M3, kF8E8M0, kI8, kBf16, kF32, kI64 };
absl::string_view DtypeName(Dtype dtype);
int64_t DtypeBytes(Dtype dtype);

struct TensorBytes {
  Dtype dtype = Dtype::kI8;
  std::vector<int64_t> shape;
  absl::Span<const std::byte> bytes;  // may lie at any alignment
};

class SafetensorsFile {
 public:
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  const absl::btree_map<std::string, TensorBytes>& tensors() const { return tensors_; }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}
  absl::Status ReadHeader(const std::string& path);

  MappedFile file_;
  absl::btree_map<std::string, TensorBytes> tensors_;
};

}  // namespace tandem
