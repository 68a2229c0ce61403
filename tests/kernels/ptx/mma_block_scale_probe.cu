// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/mma_block_scale.cuh"
#include "tests/kernels/ptx/mma_block_scale_probe.h"

namespace tandem::kernels::cuda {
namespace {

template <ptx::MxType kTypeA>
struct OneScale {
  static constexpr int kSelects = kScaleSelects;
  __device__ static void Multiply(float (&d)[4], const uint32_t* word, int which) {
    const uint32_t a[4] = {word[0], word[1], word[2], word[3]}, b[2] = {word[4], word[5]};
    ptx::MmaBlockScale<kTypeA>(d, a, b, word[6], word[7], ProbedSelect(which));
  }
};
struct Fp4Scales {
  static constexpr int kSelects = kFp4ScaleSelects;
  __device__ static void Multiply(float (&d)[4], const uint32_t* word, int which) {
    const uint32_t a[4] = {word[0], word[1], word[2], word[3]};
    ptx::MmaFp4BlockScale(d, a, word[4], word[5], word[6], word[7], ProbedFp4Select(which));
  }
};

template <class Product>
__global__ void __launch_bounds__(32) ProbeKernel(const uint32_t* words, float* sums) {
  ptx::GridDependencyWait();
  const int which = static_cast<int>(blockIdx.x) % Product::kSelects;
  const uint32_t* const word = words + (int64_t{blockIdx.x} * 32 + threadIdx.x) * ptx::kMxRegisters;
  float* const to = sums + (int64_t{blockIdx.x} * 32 + threadIdx.x) * 4;
  float d[4] = {to[0], to[1], to[2], to[3]};
  if constexpr (ptx::kEmulatesMmaBlockScale) {
    Product::Multiply(d, word, which);
  } else {
#pragma unroll
    for (int i = 0; i < Product::kSelects; ++i) {  // immediates of the instruction
      if (i == which) Product::Multiply(d, word, i);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = d[i];
}

template <class Product>
void Probe(const uint32_t* words, float* d, int images, Stream& stream) {
  Launch({.name = "probe", .grid = dim3(static_cast<unsigned>(images)), .threads = 32}, stream,
         ProbeKernel<Product>, words, d);
}

}  // namespace

void ProbeMmaBlockScale(ptx::MxType type_a, const uint32_t* words, float* d, int images,
                        Stream& stream) {
  (type_a == ptx::MxType::kE4M3 ? Probe<OneScale<ptx::MxType::kE4M3>>
                                : Probe<OneScale<ptx::MxType::kE2M1>>)(words, d, images, stream);
}

void ProbeMmaFp4(const uint32_t* words, float* d, int images, Stream& stream) {
  Probe<Fp4Scales>(words, d, images, stream);
}

}  // namespace tandem::kernels::cuda
