// SPDX-License-Identifier: Apache-2.0
// Programmatic dependent launch. The rule that every kernel keeps stands in common/cuda/launch.h.
#pragma once

namespace tandem::kernels::ptx {

// Waits until the kernels before this one in the stream have ended and their writes are visible.
__device__ __forceinline__ void GridDependencyWait() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

// Lets the next kernel of the stream begin once every block has said so (or ended). It changes
// nothing that the next one may see: its own wait is for the end of this one.
__device__ __forceinline__ void GridDependencyLaunch() {
  asm volatile("griddepcontrol.launch_dependents;");
}

}  // namespace tandem::kernels::ptx
