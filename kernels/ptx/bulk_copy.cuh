// SPDX-License-Identifier: Apache-2.0
// cp.async.bulk: a whole range from device memory into shared memory or L2 by one instruction of
// one thread. Exists on sm_90a and sm_120f.
#pragma once

#include <cstdint>

namespace tandem::kernels::ptx {

// Addresses and size are multiples of 16; `shared` and `barrier` are shared addresses.
__device__ __forceinline__ void CopyBulk(uint32_t shared, const void* from, uint32_t bytes,
                                         uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

// Address and size are multiples of 16. Nothing waits for it; memory must stay valid meanwhile.
__device__ __forceinline__ void PrefetchL2Bulk(const void* address, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(address), "r"(bytes));
}

}  // namespace tandem::kernels::ptx
