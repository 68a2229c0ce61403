// SPDX-License-Identifier: Apache-2.0
// cp.async.bulk: a range from device to shared memory by one instruction of one thread. Exists on
// sm_90a and sm_120f.
#pragma once

#include <cstdint>

namespace tandem::kernels::ptx {

// Addresses and size are multiples of 16. `barrier` (mbarrier.cuh) is told of the bytes that came.
__device__ __forceinline__ void CopyBulk(uint32_t shared, const void* global, int bytes,
                                         uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
          shared),
      "l"(global), "r"(bytes), "r"(barrier)
      : "memory");
}

}  // namespace tandem::kernels::ptx
