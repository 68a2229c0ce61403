// SPDX-License-Identifier: Apache-2.0
// The flags that say what is sent and when. Pure but for the files that they name.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "services/tools/flags.h"
#include "services/tools/load/options/flag_reader.h"
#include "services/tools/load/plan/plan.h"

namespace tandem {

// Lengths, prefixes, conversations, arrivals, seed: of every mode.
std::vector<FlagSpec> PlanFlags();
void ReadPlan(FlagReader& reader, PlanSpec& plan);

// Closed loop, rate or trace: of the modes that make one run.
std::vector<FlagSpec> ShapeFlags();
// When a ramp begins and how long it lasts.
struct RampTime {
  absl::Duration begin;
  absl::Duration length;
};
// The closed loop's concurrency; 1 with another shape.
uint32_t ReadShape(FlagReader& reader, const RampTime& ramp, PlanSpec& plan);

// --nasty and --nasty-kinds, after --golden.
struct NastyMeans {
  bool can_vanish = true;  // a connection can only be cut without TLS
};
void ReadNasty(FlagReader& reader, const NastyMeans& means, PlanSpec& plan);

}  // namespace tandem
