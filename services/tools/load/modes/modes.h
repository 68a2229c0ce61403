// SPDX-License-Identifier: Apache-2.0
// run, sweep, search and soak from their arguments to their exit code: 0 fine, 1 an error or a
// failed check, 2 wrong arguments. Blocking; one at a time.
#pragma once

#include <string>
#include <vector>

#include "services/tools/load/options/load_options.h"

namespace tandem {

int RunMode(Mode mode, const std::vector<std::string>& arguments);

}  // namespace tandem
