// SPDX-License-Identifier: Apache-2.0
// Memory: pieces of a backend's memory that are given back together; Buffer: one of them, with a
// type.
//
// A piece that cannot be had is null and makes ok() false: whoever sets up many buffers asks once,
// before the first use. Pieces are allocated one by one, so that a sanitizer sees the end of each.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/common/backend/backend.h"
#include "kernels/common/contract.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

class Memory {
 public:
  explicit Memory(Backend& backend) : backend_(backend) {}
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    for (uint8_t* piece : pieces_) backend_.Release(piece);
  }

  uint8_t* Take(int64_t bytes) {
    uint8_t* const piece = backend_.Allocate(bytes);
    ok_ = ok_ && piece != nullptr;
    bytes_ += bytes;
    if (piece != nullptr) pieces_.push_back(piece);
    return piece;
  }

  bool ok() const { return ok_; }
  int64_t bytes() const { return bytes_; }  // asked for, all together
  Backend& backend() const { return backend_; }

 private:
  Backend& backend_;
  std::vector<uint8_t*> pieces_;
  int64_t bytes_ = 0;
  bool ok_ = true;
};

// Memory of one tensor at its largest; View gives it a running shape.
template <typename T>
class Buffer {
 public:
  Buffer(Memory& memory, int64_t capacity)
      : data_(reinterpret_cast<T*>(memory.Take(capacity * static_cast<int64_t>(sizeof(T))))),
        capacity_(capacity) {}

  template <typename... Extents>
  TensorView<T, sizeof...(Extents)> View(Extents... extents) const {
    TensorView<T, sizeof...(Extents)> view{.data = data_,
                                           .shape = {static_cast<int64_t>(extents)...}};
    KERNEL_CHECK_LE(view.size(), capacity_);
    return view;
  }

 private:
  T* data_;
  int64_t capacity_;
};

}  // namespace tandem::kernels
