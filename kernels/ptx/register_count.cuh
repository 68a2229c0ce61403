// SPDX-License-Identifier: Apache-2.0
// How many registers the threads of a warpgroup (four warps from a multiple of four) may use from
// here on: those that need few give some to those that need many.
//
// A multiple of 8, 24..256. All of a warpgroup's warps call it. It takes effect in a kernel whose
// launch bounds say one block a multiprocessor, in branches by warpgroup. Exists on sm_90a and
// sm_120f, not on their plain forms.
#pragma once

namespace tandem::kernels::ptx {

template <int kRegisters>
__device__ __forceinline__ void GiveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Waits until they have been given.
template <int kRegisters>
__device__ __forceinline__ void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace tandem::kernels::ptx
