// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/moe/swiglu.cuh"
#include "kernels/moe/swiglu.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;  // values in 16 bytes

__device__ __forceinline__ uint32_t SwigluPair(uint32_t a, uint32_t b, float weight, float limit) {
  return PackBf16(SwigluOf(LowBf16(a), LowBf16(b), weight, limit),
                  SwigluOf(HighBf16(a), HighBf16(b), weight, limit));
}

// A thread makes kStep neighbours; rows are a whole number of them.
template <int kStep>
__global__ void __launch_bounds__(kThreads) SwigluKernel(const SwigluArgs args) {
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const int64_t steps = args.a.shape[1] / kStep;
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= steps * args.a.shape[0]) return;
  const float weight = args.weight.data != nullptr ? args.weight[i / steps] : 1.0f;
  if constexpr (kStep == 1) {
    args.out[i] = RoundToBf16(SwigluOf(ToFloat(args.a[i]), ToFloat(args.b[i]), weight, args.limit));
  } else {
    const uint4 a = reinterpret_cast<const uint4*>(args.a.data)[i];
    const uint4 b = reinterpret_cast<const uint4*>(args.b.data)[i];
    reinterpret_cast<uint4*>(args.out.data)[i] = make_uint4(
        SwigluPair(a.x, b.x, weight, args.limit), SwigluPair(a.y, b.y, weight, args.limit),
        SwigluPair(a.z, b.z, weight, args.limit), SwigluPair(a.w, b.w, weight, args.limit));
  }
}

}  // namespace

void Swiglu(const SwigluArgs& args, Stream& stream) {
  CheckSwiglu(args);
  const bool vectors = args.a.shape[1] % kVector == 0;
  const int64_t threads = args.a.size() / (vectors ? kVector : 1);
  Launch({.name = "swiglu", .grid = dim3(Blocks(threads, kThreads)), .threads = kThreads}, stream,
         vectors ? SwigluKernel<kVector> : SwigluKernel<1>, args);
}

}  // namespace tandem::kernels::cuda
