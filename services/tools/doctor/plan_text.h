// SPDX-License-Identifier: Apache-2.0
// A plan as text: what the model takes, what fits on how many GPUs, the config lines to use, how
// to start them. Pure;
// deploy/sizing.md shows it as it is.
#pragma once

#include <string>

#include "services/runtime/model/config/model_config.h"
#include "services/runtime/plan/worker_plan.h"

namespace tandem {

struct PlanText {
  std::string model;  // its folder
  const ModelConfig& config;
  const PlanRequest& request;
  const MachinePlan& plan;
};
std::string TextOf(const PlanText& text);

}  // namespace tandem
