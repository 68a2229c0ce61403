// SPDX-License-Identifier: Apache-2.0
// The NCCL that workers of this build would find.
#pragma once

#include <string>

namespace tandem {

// "2.28.9"; empty where there is no libnccl.so.2, or this build has no use for it.
std::string NcclVersion();

}  // namespace tandem
