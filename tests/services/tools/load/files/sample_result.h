// SPDX-License-Identifier: Apache-2.0
// A result in which every field says something, for the tests of files and reports: as a run of
// `seconds` would give it, made from a seed, without a server. Pure function.
#pragma once

#include <cstdint>
#include <string>

#include "services/tools/load/result/load_result.h"

namespace tandem {

struct SampleLoad {
  uint32_t seed = 1;
  double rate = 20;  // requests/s
  int seconds = 30;
  double slowness = 1;     // factor on every latency
  double error_share = 0;  // of requests: RESOURCE_EXHAUSTED QUEUE_FULL
};
LoadResult SampleResult(const SampleLoad& load);

}  // namespace tandem
