// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/mma_block_scale.cuh"
#include "tests/kernels/ptx/mma_block_scale_probe.h"

namespace tandem::kernels::cuda {
namespace {

template <ptx::MxType kTypeA>
__global__ void __launch_bounds__(32) ProbeKernel(const uint32_t* words, float* sums) {
  ptx::GridDependencyWait();
  const int which = static_cast<int>(blockIdx.x) % kScaleSelects;
  const uint32_t* const word = words + (int64_t{blockIdx.x} * 32 + threadIdx.x) * ptx::kMxRegisters;
  float* const to = sums + (int64_t{blockIdx.x} * 32 + threadIdx.x) * 4;
  const uint32_t a[4] = {word[0], word[1], word[2], word[3]}, b[2] = {word[4], word[5]};
  float d[4] = {to[0], to[1], to[2], to[3]};
  if constexpr (ptx::kEmulatesMmaBlockScale) {
    ptx::MmaBlockScale<kTypeA>(d, a, b, word[6], word[7], ProbedSelect(which));
  } else {
#pragma unroll
    for (int i = 0; i < kScaleSelects; ++i) {  // immediates of the instruction
      if (i == which) ptx::MmaBlockScale<kTypeA>(d, a, b, word[6], word[7], ProbedSelect(i));
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = d[i];
}

}  // namespace

void ProbeMmaBlockScale(ptx::MxType type_a, const uint32_t* words, float* d, int images,
                        Stream& stream) {
  Launch({.name = "probe", .grid = dim3(static_cast<unsigned>(images)), .threads = 32}, stream,
         type_a == ptx::MxType::kE4M3 ? ProbeKernel<ptx::MxType::kE4M3>
                                      : ProbeKernel<ptx::MxType::kE2M1>,
         words, d);
}

}  // namespace tandem::kernels::cuda
