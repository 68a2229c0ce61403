// SPDX-License-Identifier: Apache-2.0
// RateSearch: which rate to try next, to find the highest one that is good. Doubles from the lowest
// until a rate is bad, then halves the gap between the best good and the worst bad one, by ratio,
// until they are within `precision`. Assumes that all rates below a good one are good. A value
// machine.
#pragma once

#include <optional>

namespace tandem {

class RateSearch {
 public:
  struct Options {
    double low = 1;
    double high = 1e6;
    double precision = 0.05;  // bad / good - 1 at the end
  };
  explicit RateSearch(const Options& options) : options_(options) {}

  // Nullopt = done.
  std::optional<double> Next() const;
  // Of the rate that Next gave.
  void Tell(double rate, bool good);

  // The highest good rate; nullopt = none was.
  std::optional<double> best() const { return good_; }

 private:
  const Options options_;
  std::optional<double> good_;
  std::optional<double> bad_;
};

}  // namespace tandem
