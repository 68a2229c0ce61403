// SPDX-License-Identifier: Apache-2.0
// RepeatedBytes: a short run of bytes that can be read as often as wanted, one behind the other, in
// one range of addresses, while memory holds it once.
//
// The same pages of an anonymous file mapped side by side. Owns both; unmapped by the destructor.
// Reading is thread-safe. Errors: RESOURCE_EXHAUSTED.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace tandem {

class RepeatedBytes {
 public:
  // `period` is a multiple of the page size, 4096; `fill` writes the run.
  static absl::StatusOr<RepeatedBytes> Create(int64_t period,
                                              const std::function<void(absl::Span<uint8_t>)>& fill);
  RepeatedBytes(RepeatedBytes&& other) noexcept;
  RepeatedBytes& operator=(RepeatedBytes&& other) noexcept;
  ~RepeatedBytes();

  // At least `bytes` from anywhere in the first run on; views given before stay valid.
  absl::StatusOr<const std::byte*> Room(int64_t bytes);
  int64_t period() const { return period_; }

 private:
  RepeatedBytes(int file, int64_t period) : file_(file), period_(period) {}

  int file_ = -1;
  int64_t period_ = 0;
  std::vector<absl::Span<const std::byte>> ranges_;  // the last is the largest
};

}  // namespace tandem
