// SPDX-License-Identifier: Apache-2.0
// The verbs of `tandem load` that read result files. Each takes its arguments without verbs and
// returns the exit code: 0 done, 1 B is worse than A, 2 the arguments or the files are wrong.
#pragma once

#include <string>
#include <vector>

namespace tandem {

// A.json B.json [--threshold PERCENT]
int RunLoadCompare(const std::vector<std::string>& arguments);
// FILE.json… [--html FILE] [--csv FILE]; without either the tables on stdout.
int RunLoadReport(const std::vector<std::string>& arguments);

}  // namespace tandem
