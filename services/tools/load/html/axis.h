// SPDX-License-Identifier: Apache-2.0
// Axis: where a value stands on a chart, and which values are marked. Pure; thread-safe.
#pragma once

#include <string>
#include <vector>

namespace tandem {

struct Tick {
  double value = 0;
  std::string text;
};

class Axis {
 public:
  // From zero (or `least`, if that is below) to a round number at or above `most`.
  static Axis Linear(double least, double most);
  // Whole decades or 1-2-5 steps around both, which are above zero.
  static Axis Logarithmic(double least, double most);
  // 0 to 1 - 10^-nines.
  static Axis Nines(double nines);

  // 0 at the beginning, 1 at the end.
  double PlaceOf(double value) const;
  const std::vector<Tick>& ticks() const { return ticks_; }

 private:
  enum class Kind : uint8_t { kLinear, kLogarithmic, kNines };
  Axis(Kind kind, double begin, double end) : kind_(kind), begin_(begin), end_(end) {}
  double Raw(double value) const;

  Kind kind_;
  double begin_;  // in the axis's own measure
  double end_;
  std::vector<Tick> ticks_;
};

}  // namespace tandem
