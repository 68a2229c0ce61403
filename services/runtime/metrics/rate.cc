// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/metrics/rate.h"

#include <algorithm>
#include <cmath>

namespace tandem {
namespace {

constexpr double kWindowSeconds = 1.0;

}  // namespace

void Rate::Add(double count, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  rate_ = Decayed(now) + count / kWindowSeconds;
  at_ = std::max(at_, now);
}

double Rate::PerSecond(absl::Time now) const {
  absl::MutexLock lock(&mutex_);
  return Decayed(now);
}

// Exponential window: what came `age` ago counts exp(-age / window).
double Rate::Decayed(absl::Time now) const {
  if (rate_ == 0) return 0;
  const double age = std::max(0.0, absl::ToDoubleSeconds(now - at_));
  return rate_ * std::exp(-age / kWindowSeconds);
}

}  // namespace tandem
