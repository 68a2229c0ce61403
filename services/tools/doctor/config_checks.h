// SPDX-License-Identifier: Apache-2.0
// The configs of the processes that are to run here: valid, their addresses free, their model
// whole, and who shares weights finds them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "services/tools/doctor/finding.h"
#include "tandem/v1/config.pb.h"

namespace tandem {

struct ConfigFiles {
  std::vector<std::string> model;  // folders that are to be whole, whatever configs say
  std::vector<std::string> router;
  std::vector<std::string> prefill;
  std::vector<std::string> decode;
};

struct ConfigReport {
  Findings findings;
  // Of decode workers on the CPU: pools, and weights that are shared.
  int64_t shm_bytes = 0;
  bool wants_gpu = false;
  // The valid ones, defaults applied.
  std::vector<v1::PrefillConfig> prefills;
  std::vector<v1::DecodeConfig> decodes;
};
ConfigReport CheckConfigs(const ConfigFiles& files);

}  // namespace tandem
