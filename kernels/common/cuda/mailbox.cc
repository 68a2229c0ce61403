// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/mailbox.h"

#include <cuda_runtime_api.h>

#include <map>
#include <mutex>
#include <utility>

#include "kernels/common/contract.h"

namespace tandem::kernels::cuda {

uint32_t* Mailbox(const Stream& stream) {
  static std::mutex mutex;
  static std::map<std::pair<int, void*>, uint32_t*> mailboxes;
  int device = 0;
  KERNEL_CHECK_EQ(cudaGetDevice(&device), cudaSuccess);
  const std::lock_guard<std::mutex> lock(mutex);
  const auto [entry, is_new] = mailboxes.try_emplace({device, stream.queue()}, nullptr);
  if (is_new) {
    void* memory = nullptr;
    KERNEL_CHECK_EQ(cudaMalloc(&memory, kMailboxBytes), cudaSuccess);
    // Now, even if the queue's operations are being recorded.
    KERNEL_CHECK_EQ(cudaMemsetAsync(memory, 0xFF, kMailboxBytes, cudaStreamPerThread), cudaSuccess);
    KERNEL_CHECK_EQ(cudaStreamSynchronize(cudaStreamPerThread), cudaSuccess);
    entry->second = static_cast<uint32_t*>(memory);
  }
  return entry->second;
}

}  // namespace tandem::kernels::cuda
