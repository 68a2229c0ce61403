// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/device_stream.h"

#include <cuda_runtime_api.h>

#include "kernels/common/contract.h"

namespace tandem::kernels {
namespace {

uint8_t* DeviceAllocate(int64_t bytes) {
  void* memory = nullptr;
  KERNEL_CHECK_EQ(cudaMalloc(&memory, static_cast<size_t>(bytes)), cudaSuccess);
  return static_cast<uint8_t*>(memory);
}

void DeviceRelease(uint8_t* bytes) {
  // At exit the driver may be gone before the stream: nothing is left to free then.
  (void)cudaFree(bytes);
}

}  // namespace

Stream MakeDeviceStream(void* queue) {
  return Stream({.queue = queue, .allocate = DeviceAllocate, .release = DeviceRelease});
}

bool Synchronize(Stream& stream) {
  const cudaError_t error = cudaStreamSynchronize(static_cast<cudaStream_t>(stream.queue()));
  if (error != cudaSuccess) stream.RecordError(cudaGetErrorString(error));
  return stream.ok();
}

}  // namespace tandem::kernels
