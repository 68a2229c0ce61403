// SPDX-License-Identifier: Apache-2.0
// cp.async for streams: weights that nobody will read again soon. Groups and waits are
// async_copy.cuh's.
#pragma once

#include <cstdint>

#include "kernels/ptx/async_copy.cuh"

namespace tandem::kernels::ptx {

// Both aligned to 16; past L1, and L2 fetches 256 bytes of the stream at once.
__device__ __forceinline__ void CopyAsyncStream16(uint32_t shared, const void* global) {
  asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(shared), "l"(global)
               : "memory");
}

}  // namespace tandem::kernels::ptx
