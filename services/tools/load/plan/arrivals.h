// SPDX-License-Identifier: Apache-2.0
// Arrivals: when an open-loop request is due. A process of mean rate 1 (constant, Poisson, gamma)
// is drawn first, and time is warped to the rate: so a ramp keeps the process's own burstiness.
// A value machine: same spec and seed, same times. One owner.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "services/tools/load/plan/random.h"

namespace tandem {

// Limits of --rate.
inline constexpr double kRateMin = 1e-3;  // requests a second
inline constexpr double kRateMax = 1e6;

struct ArrivalSpec {
  double rate_begin = 1;  // requests a second
  double rate_end = 1;    // equal: no ramp
  // The rate is rate_begin until `ramp_begin`, goes to rate_end within `ramp`, and stays.
  absl::Duration ramp_begin;
  absl::Duration ramp;
  // Coefficient of variation of the gaps is 1 / sqrt(burstiness): 1 = Poisson, below 1 = bursts,
  // 0 = constant gaps.
  double burstiness = 0;
};

class Arrivals {
 public:
  Arrivals(const ArrivalSpec& spec, uint64_t seed);
  // Since the run's start; never falls.
  absl::Duration Next();

 private:
  const ArrivalSpec spec_;
  Random random_;
  double expected_ = 0;  // arrivals that the rate calls for up to the last one given
};

}  // namespace tandem
