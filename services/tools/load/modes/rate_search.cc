// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/modes/rate_search.h"

#include <algorithm>
#include <cmath>

namespace tandem {

std::optional<double> RateSearch::Next() const {
  if (!good_.has_value()) {
    if (bad_.has_value()) return std::nullopt;  // Even the lowest rate is bad.
    return options_.low;
  }
  if (!bad_.has_value()) {
    if (*good_ >= options_.high) return std::nullopt;
    return std::min(*good_ * 2, options_.high);
  }
  if (*bad_ / *good_ - 1 <= options_.precision) return std::nullopt;
  return std::sqrt(*good_ * *bad_);
}

void RateSearch::Tell(double rate, bool good) {
  if (good) {
    good_ = std::max(good_.value_or(rate), rate);
  } else {
    bad_ = std::min(bad_.value_or(rate), rate);
  }
}

}  // namespace tandem
