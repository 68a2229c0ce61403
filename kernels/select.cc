// SPDX-License-Identifier: Apache-2.0
#include "kernels/select.h"

namespace tandem::kernels {

const KernelTable& SelectKernels(Device device) {
  return device == Device::kCpuReference ? kCpuReferenceKernels : kCpuKernels;
}

}  // namespace tandem::kernels
