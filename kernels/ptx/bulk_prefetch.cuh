// SPDX-License-Identifier: Apache-2.0
// cp.async.bulk.prefetch: a whole range into L2 by one instruction of one thread. Exists on sm_90a
// and sm_120f.
#pragma once

#include <cstdint>

namespace tandem::kernels::ptx {

// Address and size are multiples of 16. Nothing waits for it; memory must stay valid meanwhile.
__device__ __forceinline__ void PrefetchL2Bulk(const void* address, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(address), "r"(bytes));
}

}  // namespace tandem::kernels::ptx
