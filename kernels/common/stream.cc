// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/stream.h"

#include <algorithm>

namespace tandem::kernels {
namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kLeastBlock = int64_t{1} << 20;

// First offset >= `offset` at which an address in the block is aligned.
int64_t Aligned(const uint8_t* base, int64_t offset) {
  const auto address = reinterpret_cast<uintptr_t>(base) + static_cast<uintptr_t>(offset);
  return offset + static_cast<int64_t>((kAlign - address % kAlign) % kAlign);
}

}  // namespace

uint8_t* Scratch::TakeBytes(int64_t bytes) {
  auto& blocks = stream_.blocks_;
  for (;; ++stream_.block_, stream_.offset_ = 0) {
    if (stream_.block_ == blocks.size()) {
      // Twice the last block: a handful of blocks serve any step.
      const int64_t last = blocks.empty() ? 0 : blocks.back().size;
      const int64_t size = std::max({bytes + kAlign, 2 * last, kLeastBlock});
      blocks.push_back({.bytes = std::make_unique_for_overwrite<uint8_t[]>(size), .size = size});
    }
    const Stream::Block& block = blocks[stream_.block_];
    const int64_t begin = Aligned(block.bytes.get(), stream_.offset_);
    if (begin + bytes <= block.size) {
      stream_.offset_ = begin + bytes;
      return block.bytes.get() + begin;
    }
  }
}

}  // namespace tandem::kernels
