// SPDX-License-Identifier: Apache-2.0
#include "kernels/select.h"

#ifdef TANDEM_CUDA
#include <cuda_runtime_api.h>

#include <cstdlib>

#include "kernels/common/cuda/cuda_backend.h"
#endif

namespace tandem::kernels {

const KernelTable& SelectKernels(Device device) {
  return device == Device::kCpuReference ? kCpuReferenceKernels : kCpuKernels;
}

#ifdef TANDEM_CUDA

// A kernel that is loaded at its first launch waits for the device, on which a rank's kernel may
// wait for the peer that this launch is of. So all are loaded at once, before the first call.
void LoadKernelsAtOnce() {
  constexpr int kKeepWhatIsSet = 0;
  (void)setenv("CUDA_MODULE_LOADING", "EAGER", kKeepWhatIsSet);
}

Gpu SelectGpu(int index) {
  LoadKernelsAtOnce();
  const std::string name = "GPU " + std::to_string(index);
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    return {.why = name + ": " + cudaGetErrorString(error)};
  }
  if (index < 0 || index >= count) {
    return {.why = name + ": this process sees " + std::to_string(count)};
  }
  cudaDeviceProp gpu{};
  if (const cudaError_t error = cudaGetDeviceProperties(&gpu, index); error != cudaSuccess) {
    return {.why = name + ": " + cudaGetErrorString(error)};
  }
  const std::string described =
      name + " " + gpu.name + " sm_" + std::to_string(10 * gpu.major + gpu.minor);
  const bool hopper = gpu.major == 9 && gpu.minor == 0;
  if (!hopper && gpu.major != 12) {
    return {.why = described + ": the kernels are for sm_90 and sm_12x"};
  }
  return {.table = &kCudaKernels, .backend = MakeCudaBackend(index, described)};
}

#else

Gpu SelectGpu(int /*index*/) {
  return {.why = "this build has no CUDA kernels (cmake -DTANDEM_CUDA=ON)"};
}

#endif

}  // namespace tandem::kernels
