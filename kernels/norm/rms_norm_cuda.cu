// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/norm/pair_sum.cuh"
#include "kernels/norm/rms_norm.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/ptx/load.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kVector = 8;  // values of a 16-byte load
constexpr int kMaxThreads = 512;
constexpr int64_t kMaxVectorDim = int64_t{kVector} * 2 * kMaxThreads;

// One block a token, kVectors vectors a thread; the row is read once, the weights before the kernel
// before has ended.
template <int kVectors>
__global__ void __launch_bounds__(kMaxThreads) RmsNormVectors(RmsNormArgs args) {
  __shared__ PairSum shared[32];
  const int threads = static_cast<int>(blockDim.x);
  const int64_t dim = args.x.shape[1];
  const Bf16* x = args.x.data + int64_t{blockIdx.x} * dim;
  Bf16* y = args.y.data + int64_t{blockIdx.x} * dim;
  uint4 weight[kVectors] = {}, value[kVectors] = {};
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t d = int64_t{kVector} * (threadIdx.x + v * threads);
    if (d < dim) weight[v] = *reinterpret_cast<const uint4*>(args.weight.data + d);
  }
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t d = int64_t{kVector} * (threadIdx.x + v * threads);
    if (d < dim) value[v] = *reinterpret_cast<const uint4*>(x + d);
  }
  const float r = InverseRms(RowSum(value, threads, shared), static_cast<float>(dim), args.eps);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t d = int64_t{kVector} * (threadIdx.x + v * threads);
    if (d < dim) *reinterpret_cast<uint4*>(y + d) = NormAndWeigh(value[v], weight[v], r);
  }
}

// Any size, value by value.
__global__ void __launch_bounds__(kMaxThreads) RmsNormScalars(RmsNormArgs args) {
  __shared__ PairSum shared[32];
  ptx::GridDependencyWait();
  const int threads = static_cast<int>(blockDim.x);
  const int64_t t = blockIdx.x, dim = args.x.shape[1];
  const Bf16* x = args.x.row(t);
  PairSum sum;
  for (int64_t d = threadIdx.x; d < dim; d += threads) AddSquare(ToFloat(x[d]), &sum);
  const float r = InverseRms(BlockSum(sum, threads, shared), static_cast<float>(dim), args.eps);
  for (int64_t d = threadIdx.x; d < dim; d += threads) {
    args.y.row(t)[d] = RoundToBf16(__fmul_rn(ToFloat(args.weight[d]), __fmul_rn(ToFloat(x[d]), r)));
  }
}

bool Aligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

}  // namespace

void RmsNorm(const RmsNormArgs& args, Stream& stream) {
  CheckRmsNorm(args);
  const int64_t dim = args.x.shape[1];
  const bool vectors = dim % kVector == 0 && dim <= kMaxVectorDim && Aligned16(args.x.data) &&
                       Aligned16(args.y.data) && Aligned16(args.weight.data);
  // One vector a thread where the row allows it: the fewest rounds of latency.
  const int64_t warps =
      std::clamp<int64_t>((dim + 32 * kVector - 1) / (32 * kVector), 1, kMaxThreads / 32);
  Launch({.name = "rms_norm",
          .grid = dim3(Blocks(args.x.shape[0], 1)),
          .threads = static_cast<int>(32 * warps)},
         stream,
         !vectors                       ? RmsNormScalars
         : dim <= kVector * kMaxThreads ? RmsNormVectors<1>
                                        : RmsNormVectors<2>,
         args);
}

}  // namespace tandem::kernels::cuda
