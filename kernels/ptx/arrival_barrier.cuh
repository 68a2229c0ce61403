// SPDX-License-Identifier: Apache-2.0
// mbarrier: a barrier in shared memory at which threads, or their asynchronous copies, arrive, and
// on whose phases others wait later. A phase ends with its last arrival; phases count 0, 1, 0, 1, …
#pragma once

#include <cstdint>

namespace tandem::kernels::ptx {

// By one thread, before a block's barrier that all others pass. `address`: 8 bytes, aligned.
__device__ __forceinline__ void ArrivalInit(uint32_t address, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address), "r"(arrivals) : "memory");
}

// What the thread has read and written before is done when the phase ends.
__device__ __forceinline__ void Arrive(uint32_t address) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(address)
               : "memory");
}

// Arrives when all copies that the thread has started (CopyAsync16) have ended.
__device__ __forceinline__ void ArriveWithCopies(uint32_t address) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(address) : "memory");
}

// Waits for the end of a phase with this parity.
__device__ __forceinline__ void ArrivalWait(uint32_t address, uint32_t parity) {
  uint32_t ended = 0;
  do {
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(ended)
        : "r"(address), "r"(parity)
        : "memory");
  } while (ended == 0);
}

}  // namespace tandem::kernels::ptx
