// SPDX-License-Identifier: Apache-2.0
// The only place that asks which device computes.
#pragma once

#include <memory>
#include <string>

#include "kernels/common/backend/backend.h"
#include "kernels/kernel_table.h"

namespace tandem::kernels {

enum class Device { kCpu, kCpuReference };

// The table of a device; lives for ever.
const KernelTable& SelectKernels(Device device);

// A GPU: its table, and its memory.
struct Gpu {
  const KernelTable* table = nullptr;
  std::unique_ptr<Backend> backend;  // null: `why` says what is missing
  std::string why;
};

// GPU number `index` of those that the process sees. Missing: in a build without TANDEM_CUDA, where
// there is no such GPU, and where the kernels do not run on it.
Gpu SelectGpu(int index);

}  // namespace tandem::kernels
