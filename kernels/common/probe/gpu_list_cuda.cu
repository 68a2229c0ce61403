// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include <algorithm>
#include <cctype>

#include "kernels/common/probe/gpu_list.h"

namespace tandem::kernels {
namespace {

// Compiled for the targets of all kernels: where it has no code, none has.
__global__ void NothingKernel() {}

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

GpuFacts FactsOf(int index) {
  GpuFacts out{.index = index};
  cudaDeviceProp gpu{};
  if (const cudaError_t error = cudaGetDeviceProperties(&gpu, index); error != cudaSuccess) {
    out.unusable = cudaGetErrorString(error);
    return out;
  }
  out.name = gpu.name;
  out.major = gpu.major;
  out.minor = gpu.minor;
  out.memory_bytes = static_cast<int64_t>(gpu.totalGlobalMem);
  char pci[32] = {};
  if (cudaDeviceGetPCIBusId(pci, sizeof pci, index) == cudaSuccess) out.pci = Lower(pci);
  size_t free = 0, total = 0;
  cudaFuncAttributes code{};
  cudaError_t error = cudaSetDevice(index);
  if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
  if (error == cudaSuccess) error = cudaFuncGetAttributes(&code, NothingKernel);
  out.free_bytes = static_cast<int64_t>(free);
  if (error != cudaSuccess) out.unusable = cudaGetErrorString(error);
  (void)cudaGetLastError();
  return out;
}

}  // namespace

GpuList ListGpus() {
  GpuList out;
  int version = 0;
  if (cudaDriverGetVersion(&version) == cudaSuccess && version > 0) {
    out.cuda = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
  }
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    (void)cudaGetLastError();
    out.why = cudaGetErrorString(error);
  } else if (count == 0) {
    out.why = "this process sees no GPU";
  }
  for (int i = 0; i < count; ++i) out.gpus.push_back(FactsOf(i));
  return out;
}

}  // namespace tandem::kernels
