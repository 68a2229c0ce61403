// SPDX-License-Identifier: Apache-2.0
// FNV-1a, 64 bits: a hash that is the same in every process, build and machine, as absl's is not.
// Not for what an adversary chooses. Pure.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace tandem {

// Of nothing yet.
inline constexpr uint64_t kFnv1aBasis = 0xcbf29ce484222325;

// The hash after one unit more: a byte, or whatever else counts as one.
constexpr uint64_t Fnv1aNext(uint64_t hash, uint64_t unit) {
  return (hash ^ unit) * 0x100000001b3;
}

inline uint64_t Fnv1a(absl::string_view text) {
  uint64_t hash = kFnv1aBasis;
  for (const char c : text) hash = Fnv1aNext(hash, static_cast<uint8_t>(c));
  return hash;
}

}  // namespace tandem
