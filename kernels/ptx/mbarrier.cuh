// SPDX-License-Identifier: Apache-2.0
// Barriers in shared memory: a phase ends when as many have arrived as it was made for; who waits
// says which phase, by its parity.
//
// `barrier` is the address of eight bytes in shared memory. What a thread wrote (or copied) before
// it arrived is seen by those who waited. Exists on sm_90a and sm_120f.
#pragma once

#include <cstdint>

namespace tandem::kernels::ptx {

// By one thread; __syncthreads() before anyone uses it, or __syncwarp() where one warp does.
__device__ __forceinline__ void InitMbarrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Before bulk copies of the thread that made barriers arrive at them.
__device__ __forceinline__ void FenceMbarrierInit() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void ArriveMbarrier(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives when this thread's copies of async_copy.cuh so far have come.
__device__ __forceinline__ void ArriveMbarrierAfterCopies(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

// Arrives, and the phase does not end before so many more bytes of bulk copies have come.
__device__ __forceinline__ void ExpectMbarrier(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

// Waits for the end of the phase of that parity: the first phase has 0.
__device__ __forceinline__ void WaitMbarrier(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

}  // namespace tandem::kernels::ptx
