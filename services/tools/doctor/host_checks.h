// SPDX-License-Identifier: Apache-2.0
// The host's settings and limits, judged. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "services/runtime/machine/host_facts.h"
#include "services/runtime/machine/pci_gpus.h"
#include "services/tools/doctor/finding.h"

namespace tandem {

struct HostChecksArgs {
  const HostFacts& host;
  const std::vector<PciGpu>& pci;
  // That the given decode configs take of /dev/shm; 0: none was given.
  int64_t shm_bytes = 0;
};
Findings CheckHost(const HostChecksArgs& args);

}  // namespace tandem
