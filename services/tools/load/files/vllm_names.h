// SPDX-License-Identifier: Apache-2.0
// The flat field names of `vllm bench serve --save-result`, so that scripts that plot its files
// read ours. Its itl is our chunk gap; its times count from the sending, as ours without
// "corrected". Pure function; thread-safe.
#pragma once

#include "nlohmann/json.hpp"
#include "services/tools/load/result/load_result.h"

namespace tandem {

void AddVllmNames(const LoadResult& result, nlohmann::ordered_json& out);

}  // namespace tandem
