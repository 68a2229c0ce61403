// SPDX-License-Identifier: Apache-2.0
// Copies for streams: weights that nobody will read again soon. Groups and waits of cp.async are
// async_copy.cuh's; a bulk copy arrives at a barrier (mbarrier.cuh).
#pragma once

#include <cstdint>

#include "kernels/ptx/async_copy.cuh"

namespace tandem::kernels::ptx {

// Both aligned to 16; past L1, and L2 fetches 256 bytes of the stream at once.
__device__ __forceinline__ void CopyAsyncStream16(uint32_t shared, const void* global) {
  asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(shared), "l"(global)
               : "memory");
}

// By one thread; addresses and `bytes` are multiples of 16. L2 gives it up first. What it reads may
// not be written meanwhile; the barrier is told of its bytes by ExpectMbarrier.
__device__ __forceinline__ void CopyBulkStream(uint32_t shared, const void* global, uint32_t bytes,
                                               uint32_t barrier) {
  constexpr uint64_t kEvictFirst = 0x12F0000000000000u;  // as createpolicy makes it
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(shared),
      "l"(global), "r"(bytes), "r"(barrier), "l"(kEvictFirst)
      : "memory");
}

}  // namespace tandem::kernels::ptx
