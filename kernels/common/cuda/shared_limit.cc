// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/shared_limit.h"

#include <cuda_runtime_api.h>

#include <map>
#include <utility>

#include "kernels/common/contract.h"

namespace tandem::kernels::cuda {

int64_t AllowDynamicShared(const void* kernel) {
  // A device has its own limits. By thread, so that a launch takes no lock.
  thread_local std::map<std::pair<int, const void*>, int64_t> static_bytes;
  int device = 0;
  KERNEL_CHECK_EQ(cudaGetDevice(&device), cudaSuccess);
  const auto [entry, is_new] = static_bytes.try_emplace({device, kernel}, 0);
  if (is_new) {
    cudaFuncAttributes attributes = {};
    KERNEL_CHECK_EQ(cudaFuncGetAttributes(&attributes, kernel), cudaSuccess);
    entry->second = static_cast<int64_t>(attributes.sharedSizeBytes);
    KERNEL_CHECK_EQ(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         kMaxSharedBytes - static_cast<int>(entry->second)),
                    cudaSuccess);
  }
  return entry->second;
}

}  // namespace tandem::kernels::cuda
