// SPDX-License-Identifier: Apache-2.0
// The help of `tandem load run|sweep|search|soak`: what it is for, how it is called, its flags by
// what they are about. Pure.
#pragma once

#include <string>

#include "services/tools/load/options/load_options.h"

namespace tandem {

const char* NameOf(Mode mode);
std::string LoadHelp(Mode mode);

}  // namespace tandem
