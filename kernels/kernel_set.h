// SPDX-License-Identifier: Apache-2.0
// KernelSet: a kernel table with the backend on which its views lie: all that code above the
// kernels needs to compute somewhere. Borrows both. A CPU table alone stands for the host.
#pragma once

#include "kernels/common/backend/backend.h"
#include "kernels/kernel_table.h"

namespace tandem::kernels {

struct KernelSet {
  KernelSet(const KernelTable& table,  // NOLINT: a CPU table has one backend
            Backend& backend = HostBackend())
      : table(table), backend(backend) {}

  const KernelTable& table;
  Backend& backend;
};

}  // namespace tandem::kernels
