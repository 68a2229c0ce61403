// SPDX-License-Identifier: Apache-2.0
// Stream: the order in which operations run, the first error of any of them, and their scratch
// memory.
//
// On the CPU an operation has run when its function returns, and nothing can fail but a contract,
// so the error stays empty; a device backend records its first launch error here and the caller
// reads it after synchronising (kernels/common/cuda/device_stream.h makes such streams). Scratch is
// kept between operations: once the largest step has run, no operation allocates, and the same
// operations in the same order get the same addresses. Thread-compatible: one stream belongs to one
// thread at a time. Movable, not copyable.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tandem::kernels {

// Where a stream's operations are queued and its scratch memory comes from.
struct StreamBackend {
  void* queue = nullptr;                          // a cudaStream_t; null on the CPU
  uint8_t* (*allocate)(int64_t bytes) = nullptr;  // null: the heap
  void (*release)(uint8_t* bytes) = nullptr;
};

class Stream {
 public:
  Stream() = default;
  explicit Stream(const StreamBackend& backend) : backend_(backend) {}
  Stream(Stream&&) = default;
  Stream& operator=(Stream&&) = default;

  void RecordError(std::string_view what) {
    if (error_.empty()) error_ = what;
  }
  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }
  // The error, which is then forgotten: of operations that did not run and will not.
  std::string TakeError() { return std::exchange(error_, {}); }
  void* queue() const { return backend_.queue; }

 private:
  friend class Scratch;

  struct Block {
    std::unique_ptr<uint8_t[], void (*)(uint8_t*)> bytes;
    int64_t size = 0;
  };
  StreamBackend backend_;
  std::string error_;
  std::vector<Block> blocks_;
  size_t block_ = 0;    // the block in use
  int64_t offset_ = 0;  // and its first free byte
};

// Scratch memory of one operation: taken in pieces, given back together when the scope ends. Scopes
// nest.
class Scratch {
 public:
  explicit Scratch(Stream& stream)
      : stream_(stream), block_(stream.block_), offset_(stream.offset_) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    stream_.block_ = block_;
    stream_.offset_ = offset_;
  }

  // `count` elements of trivial type T, not initialised, aligned to 256 bytes.
  template <typename T>
  T* Take(int64_t count) {
    return reinterpret_cast<T*>(TakeBytes(count * static_cast<int64_t>(sizeof(T))));
  }

 private:
  uint8_t* TakeBytes(int64_t bytes);

  Stream& stream_;
  size_t block_;
  int64_t offset_;
};

}  // namespace tandem::kernels
