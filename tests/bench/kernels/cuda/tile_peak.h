// SPDX-License-Identifier: Apache-2.0
// The most that mma.sync does on this machine: products of registers with registers.
#pragma once

#include <cstdint>

#include "kernels/common/stream.h"

namespace tandem::kernels {

// Queues the products of a full machine; returns their flop.
int64_t MmaSyncPeak(Stream& stream, float* sink);

}  // namespace tandem::kernels
