// SPDX-License-Identifier: Apache-2.0
// The configs of the processes that are to run here: valid, their addresses free, their model
// whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "services/tools/doctor/finding.h"

namespace tandem {

struct ConfigFiles {
  std::vector<std::string> model;  // folders that are to be whole, whatever configs say
  std::vector<std::string> router;
  std::vector<std::string> prefill;
  std::vector<std::string> decode;
};

struct ConfigReport {
  Findings findings;
  int64_t host_pool_bytes = 0;  // of the decode workers on the CPU
  bool wants_gpu = false;
};
ConfigReport CheckConfigs(const ConfigFiles& files);

}  // namespace tandem
