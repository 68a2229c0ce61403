// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/contract.h"

#include <cstdlib>
#include <iostream>

namespace tandem::kernels {

void ContractFailure(const char* file, int line, const char* condition,
                     std::initializer_list<NamedValue> values) {
  std::cerr << file << ":" << line << ": kernel contract violated: " << condition;
  for (const NamedValue& v : values) std::cerr << "; " << v.name << " = " << v.value;
  std::cerr << std::endl;
  std::abort();
}

}  // namespace tandem::kernels
