// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/store/repeated_bytes.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

absl::Status NoRoom(int64_t bytes) {
  return absl::ResourceExhaustedError(
      absl::StrCat("repeated bytes: ", bytes, " bytes cannot be mapped: ", strerror(errno)));
}

}  // namespace

absl::StatusOr<RepeatedBytes> RepeatedBytes::Create(
    int64_t period, const std::function<void(absl::Span<uint8_t>)>& fill) {
  CHECK(period > 0 && period % sysconf(_SC_PAGESIZE) == 0);
  const int file = memfd_create("tandem-repeated", MFD_CLOEXEC);
  if (file < 0) return NoRoom(period);
  RepeatedBytes out(file, period);
  if (ftruncate(file, period) != 0) return NoRoom(period);
  const size_t size = static_cast<size_t>(period);
  void* const run = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (run == MAP_FAILED) return NoRoom(period);
  fill({static_cast<uint8_t*>(run), size});
  munmap(run, size);
  return out;
}

absl::StatusOr<const std::byte*> RepeatedBytes::Room(int64_t bytes) {
  const int64_t runs = (bytes + period_ - 1) / period_ + 1;
  const size_t size = static_cast<size_t>(runs * period_);
  if (!ranges_.empty() && ranges_.back().size() >= size) return ranges_.back().data();
  // Addresses first; the runs then take their places in them.
  void* const range = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (range == MAP_FAILED) return NoRoom(runs * period_);
  ranges_.push_back({static_cast<const std::byte*>(range), size});
  for (int64_t i = 0; i < runs; ++i) {
    void* const at = static_cast<std::byte*>(range) + i * period_;
    if (mmap(at, static_cast<size_t>(period_), PROT_READ, MAP_SHARED | MAP_FIXED, file_, 0) ==
        MAP_FAILED) {
      return NoRoom(runs * period_);
    }
  }
  return ranges_.back().data();
}

RepeatedBytes::RepeatedBytes(RepeatedBytes&& other) noexcept {
  *this = std::move(other);
}

RepeatedBytes& RepeatedBytes::operator=(RepeatedBytes&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(period_, other.period_);
  std::swap(ranges_, other.ranges_);
  return *this;
}

RepeatedBytes::~RepeatedBytes() {
  for (const auto range : ranges_) {
    munmap(const_cast<std::byte*>(range.data()), range.size());
  }
  if (file_ >= 0) close(file_);
}

}  // namespace tandem
