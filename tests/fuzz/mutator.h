// SPDX-License-Identifier: Apache-2.0
// Mutator: broken variants of a good input, always the same for the same seed. Not thread-safe.
#pragma once

#include <cstdint>
#include <random>
#include <string>

namespace tandem {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  // One to four faults: bits flipped, bytes erased, repeated, moved, cut off, or replaced by what
  // parsers stumble over.
  std::string Mutate(std::string text) {
    for (uint64_t faults = 1 + Below(4); faults > 0; --faults) Break(text);
    return text;
  }

  // In [0, limit); 0 for limit 0.
  uint64_t Below(uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }

 private:
  void Break(std::string& text) {
    static const char* const kStumbles[] = {
        "\"",      "\\",        "{",        "}",    "[",     "]",
        ",",       ":",         "null",     "-1",   "1e999", "18446744073709551616",
        "\\ud800", "\xff",      "\xf0\x9f", "true", "0",     "{}",
        "\n",      "<｜DSML｜", "</think>", "<"};
    const uint64_t at = Below(text.size() + 1);
    const uint64_t count = Below(24);
    switch (Below(6)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << Below(8)));
        return;
      case 1:
        text.erase(at, count);
        return;
      case 2:
        text.insert(at, text.substr(Below(text.size() + 1), count));
        return;
      case 3:
        text.replace(at, Below(6), kStumbles[Below(std::size(kStumbles))]);
        return;
      case 4:
        text.insert(at, std::string(Below(300), "[{\"(\x80"[Below(5)]));
        return;
      default:
        if (Below(4) == 0) text.resize(at);
    }
  }

  std::mt19937_64 random_;
};

}  // namespace tandem
