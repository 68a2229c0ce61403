// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/stream.h"

#include <algorithm>

namespace tandem::kernels {
namespace {

constexpr int64_t kAlign = 256;  // what a device's widest loads and copies want
constexpr int64_t kLeastBlock = int64_t{1} << 20;

uint8_t* HeapAllocate(int64_t bytes) {
  return new uint8_t[static_cast<size_t>(bytes)];
}

void HeapRelease(uint8_t* bytes) {
  delete[] bytes;
}

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
      const StreamBackend& backend = stream_.backend_;
      const auto allocate = backend.allocate != nullptr ? backend.allocate : HeapAllocate;
      const auto release = backend.release != nullptr ? backend.release : HeapRelease;
      blocks.push_back({.bytes = {allocate(size), release}, .size = size});
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
