// SPDX-License-Identifier: Apache-2.0
// A run, or a moment of one, as one line for a terminal or a log. Pure.
#pragma once

#include <string>

#include "services/tools/load/result/load_result.h"
#include "services/tools/load/result/recorder.h"

namespace tandem {

std::string OneLine(const LoadResult& result);
std::string OneLine(const LoadSnapshot& snapshot);

}  // namespace tandem
