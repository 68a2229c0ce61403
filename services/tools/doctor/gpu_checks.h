// SPDX-License-Identifier: Apache-2.0
// GPUs and the ways between them: the survey asks the driver, the checks judge what it said. The
// checks are pure.
#pragma once

#include <string>
#include <vector>

#include "services/runtime/machine/gpus.h"
#include "services/runtime/machine/host_facts.h"
#include "services/runtime/machine/pci_gpus.h"
#include "services/tools/doctor/finding.h"

namespace tandem {

struct PeerTrialResult {
  int device = 0;
  int peer = 0;
  PeerRates rates;
};

struct GpuSurvey {
  GpuList list;
  std::vector<HostRates> host;         // by GPU
  std::vector<PeerTrialResult> peers;  // every ordered pair of usable GPUs
  std::string nccl;                    // its version; empty: there is none
};

// Seconds a GPU and a pair; a trial that hangs is given up.
GpuSurvey SurveyGpus();

struct GpuFindingsArgs {
  const GpuSurvey& survey;
  const std::vector<PciGpu>& pci;
  const HostFacts& host;
};
Findings CheckGpus(const GpuFindingsArgs& args);

// Whether every GPU reaches every other, with right data.
bool AllPeers(const GpuSurvey& survey);

}  // namespace tandem
