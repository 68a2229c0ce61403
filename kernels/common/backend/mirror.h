// SPDX-License-Identifier: Apache-2.0
// Mirror: small arrays that stand both in host memory and in a backend's, and travel together by
// one copy: what a step is made of on the way there, its results on the way back.
//
// Pieces are taken anew for every step; the same pieces in the same order have the same addresses,
// as long as Reset asks for no more than ever before. Nothing may be on its way when Reset is
// called. Not thread-safe. Out of memory is fatal: the arrays are small.
#pragma once

#include <cstdint>

#include "kernels/common/backend/backend.h"

namespace tandem::kernels {

class Mirror {
 public:
  explicit Mirror(Backend& backend) : backend_(backend) {}
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;
  ~Mirror() { Free(); }

  // The same array twice.
  template <typename T>
  struct Piece {
    T* host = nullptr;
    T* device = nullptr;
  };

  // The room that a piece takes.
  template <typename T>
  static constexpr int64_t Room(int64_t count) {
    return (count * static_cast<int64_t>(sizeof(T)) + kAlign - 1) / kAlign * kAlign;
  }

  // Forgets all pieces; those to come need `room` in all.
  void Reset(int64_t room);
  // Rises when pieces move elsewhere because of more room.
  int64_t moves() const { return moves_; }

  // `count` elements, not initialised.
  template <typename T>
  Piece<T> Take(int64_t count) {
    const int64_t at = TakeBytes(Room<T>(count));
    return {reinterpret_cast<T*>(host_ + at), reinterpret_cast<T*>(device_ + at)};
  }

  // Copies all that was taken, in the stream's order.
  void ToDevice(Stream& stream) {
    if (used_ > 0) backend_.Copy({.to = device_, .from = host_, .bytes = used_}, stream);
  }
  void ToHost(Stream& stream) {
    if (used_ > 0) backend_.Copy({.to = host_, .from = device_, .bytes = used_}, stream);
  }

 private:
  static constexpr int64_t kAlign = 64;

  int64_t TakeBytes(int64_t bytes);
  void Free();

  Backend& backend_;
  uint8_t* host_ = nullptr;
  uint8_t* device_ = nullptr;
  int64_t capacity_ = 0;
  int64_t used_ = 0;
  int64_t moves_ = 0;
};

}  // namespace tandem::kernels
