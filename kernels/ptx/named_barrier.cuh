// SPDX-License-Identifier: Apache-2.0
// Barriers of a part of a block, by number (1..15; 0 is __syncthreads): those who produce arrive,
// those who consume wait, and `threads` counts both.
//
// What a thread wrote before it arrived is seen by those who waited. All are whole warps.
#pragma once

namespace tandem::kernels::ptx {

__device__ __forceinline__ void BarrierWait(int barrier, int threads) {
  asm volatile("barrier.cta.sync.aligned %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// Waits, and returns whether any thread said so.
__device__ __forceinline__ bool BarrierAny(int barrier, int threads, bool mine) {
  int any;
  asm volatile(
      "{\n"
      ".reg .pred p, q;\n"
      "setp.ne.s32 q, %3, 0;\n"
      "barrier.cta.red.or.pred.aligned p, %1, %2, q;\n"
      "selp.s32 %0, 1, 0, p;\n"
      "}"
      : "=r"(any)
      : "r"(barrier), "r"(threads), "r"(static_cast<int>(mine))
      : "memory");
  return any != 0;
}

// Arrives and goes on.
__device__ __forceinline__ void BarrierArrive(int barrier, int threads) {
  asm volatile("barrier.cta.arrive.aligned %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

}  // namespace tandem::kernels::ptx
