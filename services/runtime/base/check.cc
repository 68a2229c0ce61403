// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/base/check.h"

#include <cstdlib>
#include <iostream>

namespace tandem {

void CheckFailed(const char* file, int line, const std::string& what) {
  std::cerr << file << ":" << line << ": CHECK failed: " << what << std::endl;
  std::abort();
}

}  // namespace tandem
