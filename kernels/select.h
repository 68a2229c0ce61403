// SPDX-License-Identifier: Apache-2.0
// The only place that asks which device computes.
#pragma once

#include "kernels/kernel_table.h"

namespace tandem::kernels {

enum class Device { kCpu, kCpuReference };

// The table of a device; lives for ever.
const KernelTable& SelectKernels(Device device);

}  // namespace tandem::kernels
