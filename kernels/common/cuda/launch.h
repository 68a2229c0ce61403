// SPDX-License-Identifier: Apache-2.0
// Launch: the one way in which an operation's launcher starts its kernel.
//
// Every kernel is launched with programmatic stream serialisation: it may begin while the one
// before it in the stream still runs. Hence the rule of every kernel: each of its blocks calls
// ptx::GridDependencyWait() before it reads or writes anything but weights and its own registers
// and shared memory. A kernel that follows another may so load its weights in the other's tail.
// One exception: behind a kernel of the same operation that lets it begin only after its own wait,
// it may read what was written before that kernel (attention/indexer_score.cuh). A launch error is
// recorded in the stream under the kernel's name.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>
#include <utility>

#include "kernels/common/contract.h"
#include "kernels/common/cuda/shared_limit.h"
#include "kernels/common/stream.h"

namespace tandem::kernels::cuda {

// Of the current device, asked once.
inline int Multiprocessors() {
  static const int count = [] {
    int device = 0, value = 0;
    KERNEL_CHECK_EQ(cudaGetDevice(&device), cudaSuccess);
    KERNEL_CHECK_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, device),
                    cudaSuccess);
    return value;
  }();
  return count;
}

struct LaunchConfig {
  const char* name = "";  // for the error
  dim3 grid = {1, 1, 1};
  int threads = 0;
  int64_t shared_bytes = 0;  // dynamic; with the kernel's static ones at most kMaxSharedBytes
};

template <typename... Parameters, typename... Arguments>
void Launch(const LaunchConfig& config, Stream& stream, void (*kernel)(Parameters...),
            Arguments&&... arguments) {
  if (config.grid.x == 0 || config.grid.y == 0 || config.grid.z == 0) return;
  if (config.shared_bytes > 0) {
    const int64_t static_bytes = AllowDynamicShared(reinterpret_cast<const void*>(kernel));
    KERNEL_CHECK_LE(static_bytes + config.shared_bytes, kMaxSharedBytes);
  }
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t launch = {};
  launch.gridDim = config.grid;
  launch.blockDim = dim3(static_cast<unsigned>(config.threads));
  launch.dynamicSmemBytes = static_cast<size_t>(config.shared_bytes);
  launch.stream = static_cast<cudaStream_t>(stream.queue());
  launch.attrs = &overlap;
  launch.numAttrs = 1;
  const cudaError_t error = cudaLaunchKernelEx(
      &launch, kernel, static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  if (error != cudaSuccess) {
    stream.RecordError(std::string(config.name) + ": " + cudaGetErrorString(error));
  }
}

// Blocks that cover n with `size` each.
constexpr unsigned Blocks(int64_t n, int64_t size) {
  return static_cast<unsigned>((n + size - 1) / size);
}

}  // namespace tandem::kernels::cuda
