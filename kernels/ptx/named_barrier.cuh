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

// Arrives and goes on.
__device__ __forceinline__ void BarrierArrive(int barrier, int threads) {
  asm volatile("barrier.cta.arrive.aligned %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

}  // namespace tandem::kernels::ptx
