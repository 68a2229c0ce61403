// SPDX-License-Identifier: Apache-2.0
// MappedFile: a whole file as read-only memory, unmapped by the destructor. Movable; reading is
// thread-safe. Nobody may shorten the file while it is mapped. Errors: NOT_FOUND, or
// INVALID_ARGUMENT for what is no plain file.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace tandem {

class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  absl::Span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(absl::Span<const std::byte> bytes) : bytes_(bytes) {}

  absl::Span<const std::byte> bytes_;
};

}  // namespace tandem
