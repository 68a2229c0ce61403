// SPDX-License-Identifier: Apache-2.0
// Whether an address can be listened on now. Thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace tandem {

// `address` is host:port as configs have it. INVALID_ARGUMENT if it is none; UNAVAILABLE, with what
// the system says, if it is taken, not allowed or not of this machine.
absl::Status CanListen(const std::string& address);

}  // namespace tandem
