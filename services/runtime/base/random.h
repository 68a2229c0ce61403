// SPDX-License-Identifier: Apache-2.0
// RandomId: names a process, a stream, a piece of memory: 64 bits from the system's own source, so
// that nobody guesses one and two are never the same. Never 0. Thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>

namespace tandem {

inline uint64_t RandomId() {
  std::random_device random;
  const uint64_t high = random();
  return std::max<uint64_t>(1, high << 32 | random());
}

}  // namespace tandem
