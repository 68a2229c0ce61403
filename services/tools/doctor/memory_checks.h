// SPDX-License-Identifier: Apache-2.0
// What given configs take of memory: of each GPU, beside what it has free, and of a prefill
// worker's staging pool. Reads the models' config.json; else pure.
#pragma once

#include <vector>

#include "services/runtime/machine/gpus.h"
#include "services/tools/doctor/finding.h"
#include "tandem/v1/config.pb.h"

namespace tandem {

// Valid, defaults applied.
struct MemoryChecksArgs {
  const std::vector<v1::DecodeConfig>& decodes;
  const std::vector<v1::PrefillConfig>& prefills;
  const GpuList& list;
};

// A line for each GPU that a config names: what all of them take of it. Weights that are shared
// count once, as the decode worker's. None where no GPU is seen.
Findings CheckGpuMemory(const MemoryChecksArgs& args);

// A line for each prefill config that lets in prompts which find no room where rows are not
// written in place: a problem if it names context_tokens_max, a warning if it does not.
Findings CheckStaging(const MemoryChecksArgs& args);

}  // namespace tandem
