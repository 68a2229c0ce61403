// SPDX-License-Identifier: Apache-2.0
// Random: the plan's source of chance. The same seed gives the same draws in every process; streams
// of one seed are independent, so that what one request is made of does not depend on how many were
// planned before it. A value; one owner.
#pragma once

#include <cstdint>

namespace tandem {

// What a stream of draws is for. Its number is part of every plan that was ever drawn: append only.
enum class Draws : uint64_t {
  kArrivals = 1,
  kLengths,
  kTokens,
  kPrefixes,
  kBlocks,
  kKinds,
  kTurns
};

class Random {
 public:
  // `index`: the request, group, block or session that the draws are for.
  Random(uint64_t seed, Draws draws, uint64_t index = 0);

  // A standard bit generator (splitmix64).
  using result_type = uint64_t;
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return UINT64_MAX; }
  uint64_t operator()();

  double Unit();                   // 0 up to, not with, 1
  uint64_t Below(uint64_t limit);  // 0 … limit - 1; limit above 0
  double Gamma(double shape);      // mean = shape
  double Normal();                 // mean 0, deviation 1

 private:
  uint64_t state_;
};

}  // namespace tandem
