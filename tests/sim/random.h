// SPDX-License-Identifier: Apache-2.0
// Random: the simulator's only source of chance; the same numbers from the same seed on every
// machine.
#pragma once

#include <cstdint>
#include <random>

namespace tandem {

class Random {
 public:
  explicit Random(uint64_t seed) : bits_(seed) {}

  // 0 to count - 1. The distributions of the standard library differ from machine to machine.
  int Below(size_t count) { return static_cast<int>(bits_() % count); }
  // low to high, both included.
  int Between(int low, int high) { return low + Below(high - low + 1); }
  bool OneIn(int count) { return Below(count) == 0; }
  uint64_t Bits() { return bits_(); }

 private:
  std::mt19937_64 bits_;
};

}  // namespace tandem
