// SPDX-License-Identifier: Apache-2.0
// What would be chosen on this machine, and why: device, ranks a worker, how these add up and how
// rows are handed over. Pure.
#pragma once

#include <optional>

#include "services/runtime/machine/host_facts.h"
#include "services/runtime/plan/worker_plan.h"
#include "services/tools/doctor/finding.h"
#include "services/tools/doctor/gpu_checks.h"

namespace tandem {

struct ChoiceArgs {
  const GpuSurvey& survey;
  const HostFacts& host;
  // Of the model on these GPUs; absent without a model or a GPU.
  std::optional<MachinePlan> plan;
};
Findings Choose(const ChoiceArgs& args);

// GPUs on which this build's kernels run.
int UsableGpus(const GpuSurvey& survey);

}  // namespace tandem
