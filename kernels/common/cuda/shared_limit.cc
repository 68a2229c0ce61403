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
    cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
    entry->second = static_cast<int64_t>(attributes.sharedSizeBytes);
    if (error == cudaSuccess) {
      error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   kMaxSharedBytes - static_cast<int>(entry->second));
    }
    if (error != cudaSuccess) {
      (void)cudaGetLastError();  // the launch's error shall be its own
      static_bytes.erase(entry);
      return 0;
    }
  }
  return entry->second;
}

}  // namespace tandem::kernels::cuda
