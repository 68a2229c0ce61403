// SPDX-License-Identifier: Apache-2.0
// Loads with cache hints.
#pragma once

#include <cstdint>

namespace tandem::kernels::ptx {

// 16 bytes of read-only memory that nobody will read again soon: weights.
__device__ __forceinline__ uint4 LoadStream(const void* address) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address));
  return v;
}

// Asks for the line of an address to be in L2.
__device__ __forceinline__ void PrefetchL2(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

// Asks for it to be in L1.
__device__ __forceinline__ void PrefetchL1(const void* address) {
  asm volatile("prefetch.global.L1 [%0];" ::"l"(address));
}

}  // namespace tandem::kernels::ptx
